"""One neuron's response to its dose: outcome shares against c, with trigger and ceilings, and by horizon."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import altair as alt

from controlwindow.report.canvas import SCALE_END, attach, axis_start, finish, heading, position, table
from controlwindow.report.pages.audit.document import BehaviorSummary, WindowResult
from controlwindow.report.palette import INK, MUTED, PAPER, PREDICTED, outcome_colors, stacking_order
from controlwindow.report.wording import branch_sign, coordinate, interval, number, outcome_name, verdict, visible

_HEIGHT = 240
_FULL, _FAINT = 0.85, 0.3
_NAME_FITS = 0.42
_WORTH_COMPARING = 0.1


class _Look(NamedTuple):
    """What the specification of a response depends on, besides its rows."""

    outcomes: tuple[tuple[str, str], ...]
    threshold: float
    low: float


class _Mark(NamedTuple):
    """How a threshold is drawn: colour, dashes, and whether its name stands at the left of its interval."""

    ink: str
    dashed: bool
    left: bool


def dose_response(window: WindowResult, behavior: BehaviorSummary) -> dict[str, Any] | None:
    """Outcome shares against c at the primary horizon, with the thresholds above the plot; None without doses."""
    horizon = behavior.horizons[-1]
    shares = _share_rows(window, behavior, horizon)
    if not shares:
        return None
    marks, places = _thresholds(window)
    tables = {"shares": shares, "ticks": _tick_rows(window, horizon)}
    tables |= {f"threshold{row}": [place] for row, place in enumerate(places)}
    return attach(_response(_look(window, behavior), horizon, marks), tables)


def horizons(window: WindowResult, behavior: BehaviorSummary) -> dict[str, Any] | None:
    """The same shares at each horizon as small multiples; None with fewer than two horizons or hardly a flip."""
    flips = [
        sum(shares.get(outcome, 0.0) for outcome in behavior.target_outcomes)
        for dose in window.doses
        for shares in dose.shares.values()
    ]
    tables = {horizon: _share_rows(window, behavior, horizon) for horizon in behavior.horizons}
    shown = tuple(horizon for horizon, rows in tables.items() if rows)
    if len(shown) < 2 or max(flips, default=0.0) < _WORTH_COMPARING:
        return None
    rows = {f"shares{horizon}": tables[horizon] for horizon in shown}
    rows |= {f"ticks{horizon}": _tick_rows(window, horizon) for horizon in shown}
    return attach(_small_multiples(_look(window, behavior), shown), rows)


def describe_dose_response(window: WindowResult, behavior: BehaviorSummary) -> str:
    """The dose-response in words."""
    capped = "" if window.plateau is None else f", plateau {number(window.plateau)}"
    return (
        f"Outcome shares of {visible(behavior.name)} against the control coordinate for {visible(window.neuron)}, "
        f"branch {branch_sign(window.branch)}: trigger {coordinate(window.trigger)}, "
        f"ceiling {coordinate(window.ceiling)}{capped}, {verdict(window)}."
    )


def _look(window: WindowResult, behavior: BehaviorSummary) -> _Look:
    colors = outcome_colors(behavior)
    return _Look(
        tuple((outcome_name(outcome), colors[outcome]) for outcome in stacking_order(behavior)),
        behavior.threshold,
        axis_start([dose.c for dose in window.doses]),
    )


def _share_rows(window: WindowResult, behavior: BehaviorSummary, horizon: int) -> list[dict[str, Any]]:
    return [
        {
            "c": dose.c,
            "outcome": outcome_name(outcome),
            "order": order,
            "share": dose.shares[str(horizon)].get(outcome, 0.0),
        }
        for dose in sorted(window.doses, key=lambda dose: dose.c)
        if str(horizon) in dose.shares
        for order, outcome in enumerate(stacking_order(behavior))
    ]


def _tick_rows(window: WindowResult, horizon: int) -> list[dict[str, Any]]:
    """A tick at each dose, faint where a few prompts alone were measured."""
    return [
        {"c": dose.c, "strength": _FULL if dose.n >= window.n_eligible else _FAINT}
        for dose in sorted(window.doses, key=lambda dose: dose.c)
        if str(horizon) in dose.shares
    ]


def _thresholds(window: WindowResult) -> tuple[tuple[_Mark, ...], list[dict[str, Any]]]:
    """Look and place of trigger, measured and predicted ceiling, and of the plateau that caps c, by increasing c."""
    thresholds = (
        ("trigger", window.trigger, window.trigger_interval, INK, False),
        ("ceiling", window.ceiling, window.ceiling_interval, INK, False),
        ("predicted ceiling", window.ceiling_predicted, window.ceiling_predicted_interval, PREDICTED, True),
        ("plateau", window.plateau, None, MUTED, True),
    )
    reached = [(value, name, bounds, ink, dash) for name, value, bounds, ink, dash in thresholds if value is not None]
    marks, places = [], []
    for value, name, bounds, ink, dashed in sorted(reached, key=lambda threshold: threshold[0]):
        lower, upper = bounds or (value, value)
        lower = value if lower is None else lower
        upper = SCALE_END if upper is None else upper
        left = lower > _NAME_FITS
        marks.append(_Mark(ink, dashed, left))
        text = f"{name} {coordinate(value)} {interval(bounds)}".strip()
        anchor = lower if left else upper
        places.append({"value": value, "lower": lower, "upper": upper, "anchor": anchor, "text": text})
    return tuple(marks), places


@lru_cache(maxsize=256)
def _response(look: _Look, horizon: int, marks: tuple[_Mark, ...]) -> dict[str, Any]:
    legend = alt.Legend(orient="bottom", direction="horizontal", columnPadding=16, offset=8)
    x = position("c", look.low)
    x.axis.grid = False
    y = alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], grid=False)
    stack = _stack(look, "", x, y, f"share of rollouts, {horizon} tokens", legend, height=_HEIGHT)
    stack[0] = stack[0].properties(width=500, height=_HEIGHT)
    return finish(alt.layer(*stack, *_threshold_marks(look.low, marks)))


@lru_cache(maxsize=64)
def _small_multiples(look: _Look, shown: tuple[int, ...]) -> dict[str, Any]:
    panels: list[alt.LayerChart] = []
    for horizon in shown:
        x = position("c", look.low).title(None).axis(values=[0, 0.5, 1], format=".1f", grid=False, labelFontSize=10)
        labelled = not panels
        y = alt.Axis(format=".0%", values=[0, 0.5, 1], grid=False, labels=labelled, ticks=labelled)
        stack = _stack(look, str(horizon), x, y, None, None, height=96)
        stack[0] = stack[0].properties(width=196, height=96)
        panels.append(alt.layer(*stack, heading(f"after {horizon} tokens")))
    return finish(alt.hconcat(*panels, spacing=34, bounds="flush"))


def _stack(
    look: _Look, suffix: str, x: alt.X, axis: alt.Axis, title: str | None, legend: alt.Legend | None, *, height: int
) -> list[alt.Chart]:
    """Stacked shares, the line at the threshold, and a tick for each measured dose."""
    names = [name for name, _ in look.outcomes]
    color = alt.Color(
        "outcome:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[color for _, color in look.outcomes]),
        legend=legend,
    )
    y = alt.Y("share:Q", stack=True, scale=alt.Scale(domain=[0, 1], nice=False), axis=axis, title=title)
    area = table(f"shares{suffix}").mark_area(line=False).encode(x=x, y=y, color=color, order=alt.Order("order:Q"))
    middle = alt.Chart(alt.InlineData(values=[{"threshold": look.threshold}]))
    middle = middle.mark_rule(color=PAPER, strokeWidth=1, strokeDash=[4, 3], opacity=0.9).encode(y="threshold:Q")
    ticks = table(f"ticks{suffix}").mark_rule(color=INK, strokeWidth=1)
    strength = alt.Opacity("strength:Q", scale=None, legend=None)
    ticks = ticks.encode(x=x, y=alt.value(height), y2=alt.value(height - height // 48 - 1), opacity=strength)
    return [area, middle, ticks]


def _threshold_marks(low: float, marks: tuple[_Mark, ...]) -> list[alt.Chart]:
    """A line through the plot for each threshold, its interval and name above.

    Larger values take higher rows, with their names at the left, so that no line runs through a name.
    """
    lines, labels = [], []
    x = position("value", low)
    for row, mark in enumerate(marks):
        level = -10 - 16 * row
        base = table(f"threshold{row}")
        span = {"x": x, "y": alt.value(level), "y2": alt.value(_HEIGHT)}
        words = {"x": position("anchor", low), "y": alt.value(level), "text": "text:N"}
        side = {"align": "right" if mark.left else "left", "dx": -7 if mark.left else 7}
        style = side | {"fontSize": 11, "baseline": "middle"}
        lines += [
            base.mark_rule(color=PAPER, strokeWidth=3.4, opacity=0.85).encode(**span),
            base.mark_rule(color=mark.ink, strokeWidth=1.6, strokeDash=[5, 3] if mark.dashed else [1, 0]).encode(
                **span
            ),
        ]
        labels += [
            base.mark_rule(color=mark.ink, strokeWidth=2.2, opacity=0.45).encode(
                x=position("lower", low), x2="upper:Q", y=alt.value(level)
            ),
            base.mark_point(filled=True, size=34, fill=mark.ink, opacity=1).encode(x=x, y=alt.value(level)),
            base.mark_text(color=PAPER, stroke=PAPER, strokeWidth=4, **style).encode(**words),
            base.mark_text(color=mark.ink, **style).encode(**words),
        ]
    return [*lines, *labels]
