"""What every figure shares: type, axes, margins, and rows that are attached to a finished specification."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from controlwindow.report.drawing import FONT
from controlwindow.report.palette import FAINT, INK, MUTED, PAPER

SCALE_END = 1.0
Rows = Sequence[Mapping[str, Any]]

_CONFIGURATION = {
    "font": FONT,
    "background": PAPER,
    "padding": {"left": 14, "right": 22, "top": 4, "bottom": 4},
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": "#eef1f3",
        "labelLimit": 0,
        "labelFlush": False,
        "labelOverlap": False,
        "titlePadding": 6,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 11,
        "labelLimit": 0,
        "title": None,
        "titleColor": MUTED,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "columnPadding": 30,
        "symbolType": "square",
        # Intervals are pale so that points stand out; a key as pale as they are would show another colour.
        "symbolOpacity": 1,
        "symbolStrokeWidth": 0,
    },
}


def table(name: str) -> alt.Chart:
    """An empty chart on a table that is attached later."""
    return alt.Chart(alt.NamedData(name=name))


def finish(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The specification in the house's style, still without rows.

    Building a chart costs more than drawing it, so windows that look alike share one specification. The schema is
    checked in the tests only, for the same reason.
    """
    return dict(chart.to_dict(validate=False)) | {"config": _CONFIGURATION}


def attach(specification: Mapping[str, Any], tables: Mapping[str, Rows]) -> dict[str, Any]:
    """A specification with its rows, beside the constant ones it brings."""
    constant = specification.get("datasets", {})
    return dict(specification) | {"datasets": constant | {name: list(rows) for name, rows in tables.items()}}


def position(field: str, low: float = 0.0) -> alt.X:
    """The horizontal axis of every figure that runs along c, from `low` to 1."""
    return alt.X(
        f"{field}:Q",
        scale=alt.Scale(domain=[low, SCALE_END], nice=False),
        axis=alt.Axis(values=[-0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0], format=".1f"),
        title="control coordinate c",
    )


def axis_start(values: Sequence[float | None]) -> float:
    """Where the axis of c starts: 0, or the next twentieth below the least value."""
    least = min((value for value in values if value is not None), default=0.0)
    return min(0.0, math.floor(least * 20) / 20)


def heading(text: str) -> alt.Chart:
    """A panel's name above its plot; a title would sit higher or lower with the labels of its axis."""
    mark = alt.Chart(alt.InlineData(values=[{"text": text}])).mark_text(
        align="left", baseline="bottom", fontSize=11, color=INK
    )
    return mark.encode(text="text:N", x=alt.value(0), y=alt.value(-7))
