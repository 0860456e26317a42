"""Colours by meaning, the same in every figure; they stay apart in grey and for colour-blind readers."""

from __future__ import annotations

from controlwindow.report.pages.audit.document import BehaviorSummary, WindowResult

INK = "#1f2933"
MUTED = "#66727f"
FAINT = "#d9dee3"
PAPER = "#ffffff"

SOURCE_STATE = "#a9bacb"
COLLAPSED = "#473a33"
_TARGETS = ("#d1495b", "#f2b5a7", "#e58a78", "#f7d9d1")
_OTHERS = ("#e3e1da", "#cfcac0", "#bdb7aa")

VERDICTS = {
    "open": "#0f6b6b",
    "collapse_before_trigger": "#8a5a44",
    "too_late": "#7059a6",
    "normalization_cap": "#8d6708",
    "no_effect": "#6b7682",
    "closed": "#6b7682",
}
PREDICTED = "#3b6fb6"

NIGHT = {
    INK: "#e6eaee",
    MUTED: "#9aa7b4",
    FAINT: "#3b4652",
    PAPER: "#151a20",
    "#eef1f3": "#29323b",
    "#dbe6f4": "#27384d",
    COLLAPSED: "#b3a196",
    SOURCE_STATE: "#5f7489",
    "#e3e1da": "#4d4b45",
    "#cfcac0": "#5f5b52",
    "#bdb7aa": "#736d60",
    "#0f6b6b": "#4fb8b5",
    "#8a5a44": "#cf977d",
    "#7059a6": "#aa98e2",
    "#8d6708": "#d2a843",
    "#b0851a": "#d2a843",
    "#6b7682": "#9aa7b4",
    PREDICTED: "#79a8e6",
    "#d1495b": "#e8707f",
    "#98a3ae": "#8794a1",
    "#c3cad1": "#55616d",
}
"""What each colour of the day is on a dark page; those that are not here stay."""


def at_night(color: str) -> str:
    """A colour as it is on a dark page."""
    return NIGHT.get(color, color)


def stacking_order(behavior: BehaviorSummary) -> tuple[str, ...]:
    """Outcomes from the bottom of a stack to its top.

    Targets lie at the bottom and the collapse hangs from the top, so both thresholds are crossings of one middle line.
    """
    targets = [outcome for outcome in behavior.outcomes if outcome in behavior.target_outcomes]
    ends = {behavior.source_outcome, "collapsed", *targets}
    others = [outcome for outcome in behavior.outcomes if outcome not in ends]
    top = ["collapsed"] if "collapsed" in behavior.outcomes and behavior.source_outcome != "collapsed" else []
    return (*targets, behavior.source_outcome, *others, *top)


def outcome_colors(behavior: BehaviorSummary) -> dict[str, str]:
    """A colour for each outcome of a behavior: grey-blue source, vivid targets, neutral others, dark collapse."""
    colors = {}
    targets = others = 0
    for outcome in stacking_order(behavior):
        if outcome == behavior.source_outcome:
            colors[outcome] = SOURCE_STATE
        elif outcome in behavior.target_outcomes:
            colors[outcome] = _TARGETS[min(targets, len(_TARGETS) - 1)]
            targets += 1
        elif outcome == "collapsed":
            colors[outcome] = COLLAPSED
        else:
            colors[outcome] = _OTHERS[min(others, len(_OTHERS) - 1)]
            others += 1
    return colors


def verdict_class(window: WindowResult) -> str:
    """The key of `VERDICTS` for a window."""
    return "open" if window.verdict == "open" else window.failure_mode or "closed"
