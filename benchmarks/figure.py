"""The figure: how long each contender takes for a grid and for a window, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from benchmarks.grid import OURS
from benchmarks.results import Part, Results
from benchmarks.tables import seconds
from controlwindow.report.canvas import finish
from controlwindow.report.drawing import render
from controlwindow.report.palette import INK, SOURCE_STATE, VERDICTS

SHOWN = ("grid", "search", "throughput")


def draw(results: Results) -> str | None:
    """The figure as SVG; None when no workload with contenders was run."""
    parts = [part for part in results.parts if part.name in SHOWN and part.timings]
    if not parts:
        return None
    chart = alt.vconcat(*(_panel(part) for part in parts)).resolve_scale(x="independent", color="shared")
    return render(finish(chart), "benchmarks", description(parts))


def description(parts: Sequence[Part]) -> str:
    """What the figure shows, in words."""
    return "; ".join(
        f"{part.title}: " + ", ".join(f"{t.title} {seconds(t.median)}" for t in part.timings) for part in parts
    )


def _panel(part: Part) -> alt.LayerChart:
    rows: list[dict[str, Any]] = [
        {
            "contender": timing.title,
            "seconds": timing.median,
            "text": seconds(timing.median),
            "kind": "ours" if timing.name == OURS else "other",
        }
        for timing in part.timings
    ]
    least = min(row["seconds"] for row in rows)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("contender:N", sort=[row["contender"] for row in rows], title=None, axis=alt.Axis(labelLimit=320)),
        x=alt.X("seconds:Q", scale=alt.Scale(type="log", domainMin=least / 3), title="seconds (median)",
                axis=alt.Axis(grid=True, tickCount=5)),
    )  # fmt: skip
    colors = alt.Scale(domain=["ours", "other"], range=[VERDICTS["open"], SOURCE_STATE])
    points = base.mark_circle(size=110, opacity=1).encode(color=alt.Color("kind:N", scale=colors, legend=None))
    names = base.mark_text(align="left", dx=9, fontSize=11, color=INK).encode(text="text:N")
    return alt.layer(points, names).properties(
        width=520, height=24 * len(rows), title=alt.TitleParams(part.title, anchor="start", fontSize=12, color=INK)
    )
