"""All windows of a behavior at once: every tested neuron and branch as a line in c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from controlwindow.report.canvas import SCALE_END, attach, axis_start, finish, position, table
from controlwindow.report.pages.audit.document import BehaviorSummary, WindowResult
from controlwindow.report.palette import FAINT, INK, MUTED, PAPER, PREDICTED, VERDICTS, verdict_class
from controlwindow.report.wording import REASONS, branch_sign, visible


def overview(windows: Sequence[WindowResult]) -> dict[str, Any]:
    """Every tested neuron and branch as a line in c, in the given order.

    A solid bar is an open window. Under a norm after the FFN a line ends at the plateau (a bracket), which no dose
    passes. Closed rows keep their marks: trigger (dot), measured ceiling (bar), both with 95 %
    intervals, and the predicted ceiling (diamond).
    """
    rows = [_overview_row(position, window) for position, window in enumerate(windows)]
    step = 20 if len(rows) <= 60 else 13
    labels = [row["label"] for row in rows]
    low = axis_start([row[field] for row in rows for field in ("trigger_low", "ceiling_low")])
    y = alt.Y(
        "label:N",
        sort=labels,
        scale=alt.Scale(domain=labels, paddingInner=0, paddingOuter=0.3),
        axis=alt.Axis(title=None, ticks=False, domain=False, labelColor=INK, labelFontSize=11.5, labelPadding=10),
    )
    color = alt.Color("class:N", scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())), legend=None)
    base = table("windows").encode(y=y)
    reach = base.mark_rule(strokeWidth=1, color=FAINT).encode(x=position("low", low), x2="reach:Q")
    beyond = base.transform_filter("datum.beyond").mark_rule(strokeWidth=1, strokeDash=[2, 3], color=FAINT)
    beyond = beyond.encode(x=position("reach", low), x2="end:Q")
    window_bar = base.transform_filter("datum.open").mark_bar(height=9, cornerRadius=1.5)
    window_bar = window_bar.encode(x=position("trigger", low), x2="reach:Q", color=color)
    ceiling_interval = base.mark_rule(strokeWidth=1.4, opacity=0.75).encode(
        x=position("ceiling_low", low), x2="ceiling_high:Q", color=color
    )
    trigger_interval = base.mark_rule(strokeWidth=1.4, color=INK, opacity=0.7).encode(
        x=position("trigger_low", low), x2="trigger_high:Q"
    )
    marks = alt.layer(
        base.mark_tick(thickness=3, size=13, opacity=1).encode(x=position("ceiling", low), color=color),
        base.mark_point(
            shape="diamond", size=46, filled=True, fill=PAPER, stroke=PREDICTED, strokeWidth=1.4, opacity=1
        ).encode(x=position("predicted", low)),
        base.mark_point(filled=True, size=46, opacity=1, fill=INK, stroke=PAPER, strokeWidth=1).encode(
            x=position("trigger", low)
        ),
    )
    plateau = base.transform_filter("isValid(datum.plateau)").mark_text(
        text="]", fontSize=13, fontWeight="bold", color=MUTED, dy=-1
    )
    plateau = plateau.encode(x=position("plateau", low))
    text = base.mark_text(align="left", fontSize=11, x="width", dx=12).encode(text="verdict:N", color=color)
    # As far to the right as the longest verdict asks, in characters of this size.
    beside = 24 + round(6.3 * max((len(row["verdict"]) for row in rows), default=0))
    source = base.mark_text(align="left", fontSize=11, x="width", dx=beside, color=MUTED).encode(text="source:N")
    chart = alt.layer(reach, beyond, window_bar, ceiling_interval, trigger_interval, plateau, marks, text, source)
    signs = ["● trigger", "┃ measured ceiling", "◇ predicted ceiling", "— 95 % interval"]
    if any(window.plateau is not None for window in windows):
        signs.append("] plateau")
    key = alt.Title(
        "\u2003\u2003".join(signs),
        fontSize=11,
        fontWeight="normal",
        color=MUTED,
        anchor="start",
        offset=10,
    )
    return attach(finish(chart.properties(width=690, height=alt.Step(step), title=key)), {"windows": rows})


def _overview_row(position: int, window: WindowResult) -> dict[str, Any]:
    trigger_low, trigger_high = window.trigger_interval or (None, None)
    ceiling_low, ceiling_high = window.ceiling_interval or (None, None)
    end = SCALE_END if window.plateau is None else max(window.plateau, 0.0)
    reach = end if window.ceiling is None else window.ceiling
    is_open = window.verdict == "open"
    name = "open" if is_open else REASONS.get(window.failure_mode or "", "closed")
    return {
        "label": f"{visible(window.neuron)}  {branch_sign(window.branch)}",
        "position": position,
        "low": 0.0,
        "reach": reach,
        "beyond": window.ceiling is not None,
        "end": max(end, reach),
        "plateau": window.plateau,
        "open": is_open,
        "trigger": window.trigger,
        "trigger_low": window.trigger if trigger_low is None else trigger_low,
        "trigger_high": SCALE_END if trigger_low is not None and trigger_high is None else trigger_high,
        "ceiling": window.ceiling,
        "ceiling_low": ceiling_low,
        "ceiling_high": SCALE_END if ceiling_low is not None and ceiling_high is None else ceiling_high,
        "predicted": window.ceiling_predicted,
        "class": verdict_class(window),
        "verdict": name if window.decided else f"{name}, undecided",
        "source": window.candidate_from,
    }


def describe_overview(behavior: BehaviorSummary, windows: Sequence[WindowResult]) -> str:
    """The overview in words."""
    opened = [f"{window.neuron} branch {branch_sign(window.branch)}" for window in windows if window.verdict == "open"]
    return (
        f"Control windows for {visible(behavior.name)}: {len(windows)} rows, one for each tested neuron and branch. "
        f"Open: {', '.join(opened) or 'none'}."
    )
