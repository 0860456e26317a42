"""The figures that check the instrument: measured c on its curve, ceilings against predictions, the generic pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import altair as alt
import numpy as np

from controlwindow.curves import SaturationCurve, curve_from_json
from controlwindow.report.canvas import attach, axis_start, finish, heading, table
from controlwindow.report.pages.audit.document import GenericLayer, ReportDocument, WindowResult
from controlwindow.report.palette import FAINT, INK, MUTED, PREDICTED, VERDICTS, verdict_class


def saturation(window: WindowResult) -> dict[str, Any] | None:
    """The cosine measured at generated positions on the neuron's curve; None when doses are withheld or unmeasured."""
    points: list[dict[str, float | None]] = [
        {
            "t": dose.t,
            "c": dose.c_measured,
            "low": (dose.c_measured_interval or (None, None))[0],
            "high": (dose.c_measured_interval or (None, None))[1],
        }
        for dose in window.doses
        if dose.t is not None and dose.c_measured is not None
    ]
    if not points or window.c0 is None:
        return None
    furthest = max(float(point["t"] or 0.0) for point in points)
    exact = SaturationCurve(window.c0) if window.curve is None else curve_from_json(window.curve)
    doses = np.linspace(0.0, furthest, 60)
    curve: list[dict[str, float | None]] = [{"t": float(t), "c": exact.coordinate(float(t))} for t in doses]
    low = axis_start([row["c"] for row in [*curve, *points]])
    return attach(_saturation(low), {"points": points, "curve": curve})


@lru_cache(maxsize=16)
def _saturation(low: float) -> dict[str, Any]:
    x = alt.X("t:Q", title="dose t (budget units)", axis=alt.Axis(grid=False, tickCount=5))
    scale = alt.Scale(domain=[low, 1], nice=False)
    y = alt.Y("c:Q", title="control coordinate c", scale=scale, axis=alt.Axis(tickCount=5, format=".1f"))
    chart = alt.layer(
        table("curve").mark_line(color=PREDICTED, strokeWidth=1.6).encode(x=x, y=y),
        table("points").mark_rule(color=INK, opacity=0.5).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        table("points").mark_point(filled=True, fill=INK, size=26, opacity=0.9).encode(x=x, y=y),
    )
    return finish(chart.properties(width=230, height=240))


def ceilings(document: ReportDocument) -> dict[str, Any] | None:
    """Measured against predicted ceilings of the default predictor; None without a pair."""
    rows = [
        {
            "predicted": window.ceiling_predicted,
            "measured": window.ceiling,
            "low": (window.ceiling_interval or (None, None))[0],
            "high": (window.ceiling_interval or (None, None))[1],
            "class": verdict_class(window),
        }
        for window in document.windows
        if window.ceiling is not None and window.ceiling_predicted is not None
    ]
    if not rows:
        return None
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("predicted:Q", scale=scale, title="predicted ceiling (c)", axis=alt.Axis(tickCount=5, format=".1f"))
    y = alt.Y("measured:Q", scale=scale, title="measured ceiling (c)", axis=alt.Axis(tickCount=5, format=".1f"))
    color = alt.Color("class:N", scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())), legend=None)
    ideal = alt.Chart(alt.InlineData(values=[{"a": 0, "b": 0}, {"a": 1, "b": 1}])).mark_line(
        color=FAINT, strokeWidth=1.4
    )
    base = table("windows")
    chart = alt.layer(
        ideal.encode(x=alt.X("a:Q", scale=scale), y=alt.Y("b:Q", scale=scale)),
        base.mark_rule(opacity=0.4).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=color),
        base.mark_point(filled=True, size=38, opacity=0.85).encode(x=x, y=y, color=color),
    )
    return attach(finish(chart.properties(width=300, height=300)), {"windows": rows})


def generic_pass(layers: Sequence[GenericLayer]) -> dict[str, Any] | None:
    """Residual norm, participation ratio and predicted ceiling by layer; None without layers."""
    panels: list[alt.LayerChart] = []
    tables = {}
    for field, title in (
        ("residual_norm", "residual norm"),
        ("participation_ratio", "participation ratio"),
        ("ceiling_predicted", "predicted ceiling (c)"),
    ):
        rows = [
            {"layer": layer.layer, "value": value} for layer in layers if (value := getattr(layer, field)) is not None
        ]
        if not rows:
            continue
        tables[field] = rows
        top = 1.0 if field == "ceiling_predicted" else 1.1 * max(float(row["value"]) for row in rows)
        x = alt.X("layer:Q", title="layer", axis=alt.Axis(grid=False, tickMinStep=1, format="d", tickCount=8))
        y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4), scale=alt.Scale(domain=[0, top], nice=False))
        base = table(field).encode(x=x, y=y)
        panel = alt.layer(
            base.mark_line(color=MUTED, strokeWidth=1.2),
            base.mark_point(filled=True, fill=INK, size=30, opacity=1),
            heading(title),
        )
        panels.append(panel.properties(width=262, height=130))
    return attach(finish(alt.hconcat(*panels, spacing=44, bounds="flush")), tables) if panels else None
