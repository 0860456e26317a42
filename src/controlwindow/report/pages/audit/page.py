"""The offline page: what goes where, with every piece of text escaped by the template engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from controlwindow.report import checks, palette, wording
from controlwindow.report.judging import judging_sentences
from controlwindow.report.page import Page, Sheet, slug, unique
from controlwindow.report.pages.audit import overview, response
from controlwindow.report.pages.audit.document import BehaviorSummary, ReportDocument, WindowResult
from controlwindow.report.pages.audit.summary import (
    Headline,
    coverage_sentences,
    headline,
    predictor_errors,
    tested_neurons,
    unlike_sentences,
    windows_of,
)
from controlwindow.runs.provenance import Made

_EXPANDED = 8


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
    judged: tuple[str, ...]
    withheld: bool


def render_page(document: ReportDocument, made: Made = ()) -> Page:
    """Draw a document that has already been made shareable.

    Args:
        document: What to show; nothing in it is withheld here.
        made: When, how long and by which command, for its provenance.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    sheet = Sheet("report.html.jinja", _FILTERS)
    draw = sheet.draw
    views: list[BehaviorView] = []
    stems: set[str] = set()
    for behavior in document.behaviors:
        stem = unique(slug(behavior.name), stems)
        views.append(_behavior_view(document, behavior, stem, sheet))
    return sheet.page(
        document=document,
        behaviors=views,
        errors=predictor_errors(document),
        unlike=unlike_sentences(document.predictions),
        ceilings=draw("predicted-ceilings", checks.ceilings(document), _ceilings_words(document)),
        generic=draw(
            "generic-pass",
            checks.generic_pass(document.generic.layers),
            _generic_words(document),
        ),
        total_tested=tested_neurons(document.windows),
        origin=[*made, *_origin(document)],
        notes=wording.gathered(document.notes),
    )


def _ceilings_words(document: ReportDocument) -> str:
    """What the figure of predicted ceilings shows, for readers who cannot see it."""
    own = next((row for row in predictor_errors(document) if row.name == document.predictions.default), None)
    error = "" if own is None else f", mean absolute error {wording.number(own.mean_absolute, 3)} over {own.pairs}"
    return f"Measured against predicted ceilings, both in c; a dot on the diagonal was predicted exactly{error}."


def _generic_words(document: ReportDocument) -> str:
    """What the figure of the generic pass shows."""
    layers = document.generic.layers
    parts = []
    for name, values in (
        ("residual norm", [layer.residual_norm for layer in layers]),
        ("participation ratio", [layer.participation_ratio for layer in layers]),
        ("predicted ceiling", [layer.ceiling_predicted for layer in layers]),
    ):
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{name} from {wording.quantity(min(known))} to {wording.quantity(max(known))}")
    return f"By layer, {len(layers)} layers: {', '.join(parts)}."


def _origin(document: ReportDocument) -> list[tuple[str, Any]]:
    """Where the page comes from, line by line; None where it is withheld."""
    model = document.model
    splits = [
        (f"{behavior.name}, {split} prompts", fingerprint)
        for behavior in document.behaviors
        for split, fingerprint in behavior.split_fingerprints.items()
    ]
    return [
        ("model", f"{model.name} ({model.source})" if model.source != model.name else model.name),
        ("weights fingerprint", model.fingerprint),
        ("numbers", model.dtype),
        ("chat template", model.chat_template or "none"),
        ("system prompt", model.system_prompt or "none"),
        ("thinking", model.thinking),
        ("model organism", "yes, its controllers are known by construction" if model.organism else "no"),
        ("operations", "; ".join(document.operations)),
        ("seed", None if document.seed is None else str(document.seed)),
        *splits,
        *document.versions.items(),
        *((f"setting: {wording.outcome_name(key)}", value) for key, value in document.configuration.items()),
    ]


def _behavior_view(document: ReportDocument, behavior: BehaviorSummary, stem: str, sheet: Sheet) -> BehaviorView:
    draw = sheet.draw
    windows = windows_of(document, behavior.name)
    stems: set[str] = set()
    views: list[WindowView] = []
    for window in windows:
        own = unique(f"{stem}-{slug(window.neuron)}-{'plus' if window.branch > 0 else 'minus'}", stems)
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
        headline=headline(windows, document.coverage.screen_known),
        opened=tuple(window for window in windows if window.verdict == "open"),
        tested=tested_neurons(windows),
        colors=palette.outcome_colors(behavior),
        overview=draw(f"{stem}-overview", overview.overview(windows), overview.describe_overview(behavior, windows))
        if windows
        else None,
        windows=tuple(views),
        coverage=coverage_sentences(document, behavior),
        judged=judging_sentences(behavior.judges, ()),
        withheld=any(window.withheld for window in windows),
    )


_FILTERS: dict[str, Callable[..., Any]] = {
    "predicted_ceiling": wording.predicted_ceiling,
    "budget_name": wording.budget_name,
    "budget_parts": wording.budget_parts,
    "predictor": wording.predictor_name,
    "coordinate": wording.coordinate,
    "probability": wording.probability,
    "sign": wording.branch_sign,
    "reason": wording.reason,
    "verdict_class": palette.verdict_class,
}
