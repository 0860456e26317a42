"""The offline page: what goes where, with every piece of text escaped by the template engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple, Protocol

from jinja2 import Template
from markupsafe import Markup

from controlwindow.report import checks, palette, wording
from controlwindow.report.drawing import render
from controlwindow.report.pages.audit import overview, response
from controlwindow.report.pages.audit.document import BehaviorSummary, ReportDocument, WindowResult
from controlwindow.report.pages.audit.summary import (
    Headline,
    coverage_sentences,
    headline,
    predictor_errors,
    tested_neurons,
    windows_of,
)
from controlwindow.report.templating import page_template

_EXPANDED = 8


class _Draw(Protocol):
    def __call__(self, stem: str, specification: dict[str, object] | None, description: str) -> Markup | None: ...


class WindowView(NamedTuple):
    """A window, the anchor of its section, and its figures as inline SVG (None where there is nothing to draw)."""

    window: WindowResult
    anchor: str
    expanded: bool
    response: Markup | None
    horizons: Markup | None
    curve: Markup | None


class BehaviorView(NamedTuple):
    """A behavior with everything its section shows."""

    summary: BehaviorSummary
    anchor: str
    headline: Headline
    opened: tuple[WindowResult, ...]
    tested: int
    colors: Mapping[str, str]
    overview: Markup | None
    windows: tuple[WindowView, ...]
    coverage: tuple[str, ...]
    withheld: bool


class Page(NamedTuple):
    """The page and the figures it shows, by file stem."""

    html: str
    figures: Mapping[str, str]


def render_page(document: ReportDocument) -> Page:
    """Draw a document that has already been made shareable.

    Args:
        document: What to show; nothing in it is withheld here.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    drawn: dict[str, str] = {}

    def draw(stem: str, specification: dict[str, object] | None, description: str) -> Markup | None:
        if specification is None:
            return None
        drawn[stem] = render(specification, stem, description)
        return Markup(drawn[stem])

    views: list[BehaviorView] = []
    stems: set[str] = set()
    for behavior in document.behaviors:
        stem = _unique(slug(behavior.name), stems)
        views.append(_behavior_view(document, behavior, stem, draw))
    html = _template().render(
        document=document,
        behaviors=views,
        style=Markup(_style()),
        errors=predictor_errors(document),
        ceilings=draw("predicted-ceilings", checks.ceilings(document), "Measured against predicted ceilings."),
        generic=draw(
            "generic-pass",
            checks.generic_pass(document.generic.layers),
            "Residual norm, participation ratio and predicted ceiling by layer.",
        ),
        total_tested=tested_neurons(document.windows),
    )
    return Page(html, drawn)


def _behavior_view(document: ReportDocument, behavior: BehaviorSummary, stem: str, draw: _Draw) -> BehaviorView:
    windows = windows_of(document, behavior.name)
    stems: set[str] = set()
    views: list[WindowView] = []
    for window in windows:
        own = _unique(f"{stem}-{slug(window.neuron)}-{'plus' if window.branch > 0 else 'minus'}", stems)
        words = response.describe_dose_response(window, behavior)
        views.append(
            WindowView(
                window=window,
                anchor=own,
                expanded=window.verdict == "open" and len(views) < _EXPANDED,
                response=draw(f"{own}-response", response.dose_response(window, behavior), words),
                horizons=draw(f"{own}-horizons", response.horizons(window, behavior), f"{words} By horizon."),
                curve=draw(
                    f"{own}-curve",
                    checks.saturation(window),
                    f"Measured control coordinate of {wording.visible(window.neuron)} on the saturation curve.",
                ),
            )
        )
    return BehaviorView(
        summary=behavior,
        anchor=f"behavior-{stem}",
        headline=headline(windows),
        opened=tuple(window for window in windows if window.verdict == "open"),
        tested=tested_neurons(windows),
        colors=palette.outcome_colors(behavior),
        overview=draw(f"{stem}-overview", overview.overview(windows), overview.describe_overview(behavior, windows))
        if windows
        else None,
        windows=tuple(views),
        coverage=coverage_sentences(document, behavior),
        withheld=any(window.withheld for window in windows),
    )


def slug(text: str) -> str:
    """A file stem of letters, digits and dashes.

    Example:
        >>> slug("L3.N120"), slug("../../etc")
        ('l3-n120', 'etc')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "unnamed"


def _unique(stem: str, taken: set[str]) -> str:
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name)
    return name


def _pretty(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _style() -> str:
    rules = resources.files("controlwindow.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    colors = "".join(f".verdict-{name}{{--hue:{color}}}\n" for name, color in palette.VERDICTS.items())
    return rules + colors


@lru_cache(maxsize=1)
def _template() -> Template:
    filters: dict[str, Callable[..., Any]] = {
        "number": wording.number,
        "quantity": wording.quantity,
        "predicted_ceiling": wording.predicted_ceiling,
        "budget_name": wording.budget_name,
        "budget_parts": wording.budget_parts,
        "coordinate": wording.coordinate,
        "interval": wording.interval,
        "percent": wording.percent,
        "percent_interval": wording.percent_interval,
        "probability": wording.probability,
        "sign": wording.branch_sign,
        "outcome": wording.outcome_name,
        "visible": wording.visible,
        "reason": wording.reason,
        "verdict_class": palette.verdict_class,
        "pretty": _pretty,
    }
    return page_template("report.html.jinja", filters)
