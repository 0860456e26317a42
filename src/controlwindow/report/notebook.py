"""Results in a notebook: figures as the report draws them, and tables; every text of others is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from html import escape
from typing import Any

import altair as alt

from controlwindow.errors import UsageError
from controlwindow.instruments.rollout import Rollouts
from controlwindow.report.drawing import render
from controlwindow.report.page import slug
from controlwindow.report.pages.audit.document import BehaviorSummary, PromptCounts, WindowResult
from controlwindow.report.pages.audit.response import describe_dose_response, dose_response
from controlwindow.report.wording import branch_sign, coordinate, interval, number, percent, visible
from controlwindow.windows.window import Window

_ROWS = 20
"""Most rows of a table that are shown."""

_LENGTH = 240
"""Most characters of a text that are shown."""

_TEXT = "text-align:left;white-space:pre-wrap;vertical-align:top"


@singledispatch
def html_of(result: Any) -> str:
    """A result as HTML."""
    return f"<pre>{escape(repr(result))}</pre>"


@html_of.register
def _(result: Window) -> str:
    name = f"<b>{_text(result.neuron)}</b> {branch_sign(result.branch)}"
    words = f"<p>{name} for {_text(result.behavior)}: {_said(result)}</p>"
    if not result.doses:
        return words
    behavior, window = behavior_of(result), window_result(result)
    specification = dose_response(window, behavior)
    if specification is None:
        return words
    return words + render(
        specification, f"{slug(result.neuron)}-{result.branch}", describe_dose_response(window, behavior)
    )


@html_of.register
def _(result: Rollouts) -> str:
    rows = [
        [str(dose), str(prompt), number(result.control_coordinate[dose][prompt]), _short(text)]
        for dose, texts in enumerate(result.texts)
        for prompt, text in enumerate(texts)
    ]
    return table_html(("dose", "prompt", "c", "text"), rows)


def windows_html(sentences: Iterable[str], windows: Sequence[Window]) -> str:
    """What an audit found, as sentences and a table of its windows."""
    rows = [
        [
            window.behavior,
            f"{window.neuron} {branch_sign(window.branch)}",
            f"{coordinate(window.trigger)} {interval(window.trigger_interval) if window.trigger is not None else ''}",
            f"{coordinate(window.ceiling)} {interval(window.ceiling_interval) if window.ceiling is not None else ''}",
            percent(window.height),
            window.verdict + ("" if window.decided else "?"),
            (window.failure_mode or "").replace("_", " "),
        ]
        for window in windows
    ]
    words = "".join(f"<p>{_text(sentence)}</p>" for sentence in sentences)
    return words + table_html(("behavior", "neuron", "trigger c", "ceiling c", "height", "verdict", "reason"), rows)


def table_html(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; more than a screenful of rows is cut, and the cut is said."""
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in headings)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_TEXT}">{_text(cell)}</td>' for cell in row) + "</tr>" for row in rows[:_ROWS]
    )
    rest = f"<p>and {len(rows) - _ROWS} more rows</p>" if len(rows) > _ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def chart_of(window: Window) -> Any:
    """A window's dose response as an Altair chart.

    Raises:
        UsageError: It was read without its doses.
    """
    specification = dose_response(window_result(window), behavior_of(window)) if window.doses else None
    if specification is None:
        raise UsageError(f"{window.neuron} holds no measured doses to draw", "measure it, or draw the run's report")
    return alt.Chart.from_dict(specification)


def window_result(window: Window) -> WindowResult:
    """A window as reports draw it."""
    known = set(WindowResult.model_fields) - {"doses", "float32_check", "layer"}
    values = {name: value for name, value in window.to_dict().items() if name in known}
    keys = ("t", "c", "c_measured", "c_measured_interval", "n", "collapsed", "shares", "target_interval")
    doses = [{key: getattr(dose, key) for key in keys} for dose in window.doses]
    return WindowResult.model_validate({**values, "layer": None, "doses": doses})


def behavior_of(window: Window) -> BehaviorSummary:
    """What a window itself says of its behavior: targets have triggers, and undosed all eligible prompts are source."""
    horizons = list(window.doses[0].shares)
    targets = tuple(window.triggers_by_outcome)
    undosed = min(window.doses, key=lambda dose: abs(dose.t)).shares[horizons[-1]]
    others = {name: share for name, share in undosed.items() if name not in targets}
    source = max(others, key=lambda name: others[name], default="source")
    found = dict.fromkeys([source, *targets, *(name for d in window.doses for s in d.shares.values() for name in s)])
    return BehaviorSummary(
        name=window.behavior,
        horizons=tuple(int(horizon) for horizon in horizons),
        outcomes=tuple(found),
        source_outcome=source,
        target_outcomes=targets,
        prompts=PromptCounts(find=0, select=0, evaluate=window.n_eligible, eligible=window.n_eligible),
    )


def _said(window: Window) -> str:
    why = "" if window.failure_mode is None else f", {window.failure_mode.replace('_', ' ')}"
    return (
        f"{window.verdict}{why}; trigger {coordinate(window.trigger)}, ceiling {coordinate(window.ceiling)}, "
        f"height {percent(window.height)}"
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _short(text: str) -> str:
    return text if len(text) <= _LENGTH else text[:_LENGTH] + " …"
