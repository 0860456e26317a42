"""Figures of rates with their intervals: an audit or a method scored on the organisms."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt

from controlwindow.errors import ReportError
from controlwindow.report.canvas import Rows, finish, table
from controlwindow.report.charts import write_figure
from controlwindow.report.palette import FAINT, INK, MUTED, SOURCE_STATE, VERDICTS

_LABEL = 40
"""Longest line of a label in characters."""


class RateRow(NamedTuple):
    """One line of the figure.

    Attributes:
        what: In words.
        k: Cases that count.
        n: Cases.
        low: Lower end of the exact 95 % interval.
        high: Its upper end.
        alarm: Whether the rate should be low: false alarms, not finds.
    """

    what: str
    k: int
    n: int
    low: float
    high: float
    alarm: bool = False


def draw_rates(rates: Sequence[RateRow], path: Path, title: str) -> None:
    """Draw rates as points with exact 95 % intervals, one line each, in the given order.

    Args:
        rates: The rates; each has cases.
        path: SVG file to write.
        title: The heading.

    Raises:
        ReportError: There is none, or the file cannot be written.
    """
    if not rates:
        raise ReportError("there is no rate to draw", "score at least one organism with a known controller")
    specification, tables, description = rates_figure(rates, title)
    write_figure(specification, tables, path, description)


def rates_figure(rates: Sequence[RateRow], title: str) -> tuple[dict[str, Any], dict[str, Rows], str]:
    """The chart of rates, its rows, and what it shows in words; arguments as `draw_rates`."""
    rows: list[dict[str, Any]] = [
        {
            "what": "\n".join(textwrap.wrap(r.what.strip(), _LABEL)),
            "share": r.k / r.n,
            "low": r.low,
            "high": r.high,
            "text": f"{r.k} of {r.n}",
            "kind": "alarm" if r.alarm else "find",
        }
        for r in rates
    ]
    y = alt.Y(
        "what:N",
        sort=[row["what"] for row in rows],
        axis=alt.Axis(
            title=None,
            ticks=False,
            domain=False,
            labelColor=INK,
            labelPadding=10,
            labelExpr="split(datum.label, '\\n')",
            labelLineHeight=13,
        ),
    )
    x = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], grid=True)
    color = alt.Color(
        "kind:N", scale=alt.Scale(domain=["find", "alarm"], range=[VERDICTS["open"], "#d1495b"]), legend=None
    )
    base = table("rates").encode(y=y)
    intervals = base.mark_bar(height=7, color=SOURCE_STATE, cornerRadius=2).encode(
        x=alt.X("low:Q", scale=x, axis=axis, title="share, exact 95 % interval"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1, stroke=FAINT, strokeWidth=0.6).encode(
        x=alt.X("share:Q", scale=x), color=color
    )
    counts = base.mark_text(align="left", fontSize=11, x="width", dx=12, color=MUTED).encode(text="text:N")
    heading = alt.TitleParams(title, anchor="start", fontSize=13, fontWeight="normal", color=INK, offset=10)
    lines = [line for row in rows for line in str(row["what"]).split("\n")]
    step = 20 if len(lines) == len(rows) else 34
    chart = alt.layer(intervals, points, counts).properties(width=460, height=alt.Step(step), title=heading)
    described = "; ".join(f"{row['what']}: {row['text']}".replace("\n", " ") for row in rows)
    # A reader's font may be wider than the one that labels were measured in.
    spare = {"left": 14 + 2 * max(map(len, lines)), "right": 30, "top": 4, "bottom": 4}
    return finish(chart) | {"padding": spare}, {"rates": rows}, f"{title}. {described}"
