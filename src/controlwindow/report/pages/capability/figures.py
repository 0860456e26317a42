"""Scores of other tasks against c, through trigger and ceiling of one window, and the same as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
from rich.console import RenderableType
from rich.text import Text

from controlwindow.report.canvas import attach, axis_start, finish, position, table
from controlwindow.report.pages.capability.document import CapabilityDocument, TaxedWindow
from controlwindow.report.palette import INK, MUTED, PAPER
from controlwindow.report.terminal import plain_table
from controlwindow.report.wording import branch_sign, coordinate, interval, outcome_name, visible

_HUES = ("#3b6fb6", "#d1495b", "#0f6b6b", "#8d6708", "#7059a6", "#473a33")
_HEIGHT = 240
_WIDE = 1.96


def capability_figure(window: TaxedWindow) -> dict[str, Any] | None:
    """Every score with its 95 % interval against c, and the window's thresholds; None without a score."""
    rows = _rows(window)
    if not rows:
        return None
    names = list(dict.fromkeys(row["series"] for row in rows))
    low = axis_start([row["c"] for row in rows])
    bounds = [row[key] for row in rows for key in ("low", "high")]
    x = position("c", low)
    y = alt.Y(
        "value:Q",
        title="score, 95 % interval",
        scale=alt.Scale(domain=[min(0.0, *bounds), max(1.0, *bounds)], nice=False),
    )
    colour = alt.Color(
        "series:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[_HUES[place % len(_HUES)] for place in range(len(names))]),
        legend=alt.Legend(orient="bottom", direction="vertical", offset=8),
    )
    base = table("scores")
    chart = alt.layer(
        *_threshold_marks(window, low),
        base.mark_rule(strokeWidth=1.4, opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=36, opacity=1).encode(x=x, y=y, color=colour),
    ).properties(width=500, height=_HEIGHT)
    return attach(finish(chart), {"scores": rows, "thresholds": _thresholds(window)})


def describe_capability(window: TaxedWindow) -> str:
    """The figure in words."""
    tasks = ", ".join(dict.fromkeys(f"{score.task} {score.score}" for score in window.scores))
    return (
        f"Scores of {visible(tasks)} against the control coordinate for {visible(window.neuron)}, branch "
        f"{branch_sign(window.branch)}, through its window for {visible(window.behavior)}: trigger "
        f"{coordinate(window.trigger)}, ceiling {coordinate(window.ceiling)}."
    )


def capability_tables(document: CapabilityDocument) -> Iterator[RenderableType]:
    """A table for each window: scores by c, and what each dose costs."""
    columns = [("task", "left"), ("score", "left"), ("c", "right"), ("value", "left"), ("tax", "left"), ("n", "right")]
    for window in document.windows:
        yield Text(
            f"{window.neuron}, branch {branch_sign(window.branch)}, {window.behavior}: {window.verdict}, trigger "
            f"{coordinate(window.trigger)} {interval(window.trigger_interval)}, ceiling "
            f"{coordinate(window.ceiling)} {interval(window.ceiling_interval)}"
        )
        yield plain_table(
            columns,
            [
                [
                    visible(score.task),
                    outcome_name(score.score),
                    "undosed" if score.c is None else f"{score.c:.3f}",
                    _with_error(score.value, score.stderr),
                    "–" if score.tax is None or score.c is None else _with_error(score.tax, score.tax_stderr),
                    str(score.samples),
                ]
                for score in window.scores
            ],
        )


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {_WIDE * error:.3f}"


def _rows(window: TaxedWindow) -> list[dict[str, Any]]:
    found = []
    for score in window.scores:
        wide = _WIDE * (score.stderr or 0.0)
        found.append(
            {
                # An undosed model stands where the branch begins.
                "c": (window.c0 or 0.0) if score.c is None else score.c,
                "value": score.value,
                "low": score.value - wide,
                "high": score.value + wide,
                "series": f"{visible(score.task)}: {outcome_name(score.score)}",
            }
        )
    return found


def _thresholds(window: TaxedWindow) -> list[dict[str, Any]]:
    return [
        {"value": value, "text": f"{name} {coordinate(value)} {interval(bounds)}".strip(), "row": row}
        for row, (name, value, bounds) in enumerate(
            (
                ("trigger", window.trigger, window.trigger_interval),
                ("ceiling", window.ceiling, window.ceiling_interval),
            )
        )
        if value is not None
    ]


def _threshold_marks(window: TaxedWindow, low: float) -> list[alt.Chart]:
    marks = []
    for place in _thresholds(window):
        level = -10 - 16 * place["row"]
        one = alt.Chart(alt.InlineData(values=[place]))
        left = place["value"] > 0.5
        style = {"align": "right" if left else "left", "dx": -6 if left else 6, "fontSize": 11, "baseline": "middle"}
        where = {"x": position("value", low), "y": alt.value(level)}
        marks += [
            one.mark_rule(color=PAPER, strokeWidth=3.4).encode(**where, y2=alt.value(_HEIGHT)),
            one.mark_rule(color=MUTED, strokeWidth=1.4).encode(**where, y2=alt.value(_HEIGHT)),
            one.mark_text(color=INK, **style).encode(**where, text="text:N"),
        ]
    return marks
