"""The page of a probe: one offline file, and its figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controlwindow.errors import ReportError
from controlwindow.report import wording
from controlwindow.report.drawing import render
from controlwindow.report.page import Page, Sheet
from controlwindow.report.pages.probe import figures as probe_figures
from controlwindow.report.pages.probe import words as probe_words
from controlwindow.report.pages.probe.document import ProbeDocument, probe_document
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import write_page, write_svg
from controlwindow.runs.provenance import NO_WORK, Made, Work

_FILTERS: dict[str, Callable[..., Any]] = {
    "bounds": probe_words.bounds,
    "signed": probe_words.signed,
    "probability": probe_words.probability,
    "setting": probe_words.setting,
}


def write_probe_report(
    document: Mapping[str, Any], directory: Path, *, include_neurons: bool = False, work: Work = NO_WORK
) -> Path:
    """Write `report.html` and `figures/*.svg` into a run directory.

    Args:
        document: The probe's results, as `ProbeResult.to_json` gives them.
        directory: The run directory.
        include_neurons: Name neurons and doses of a sensitive behavior on a model that is no organism.
        work: When it was measured, for how long and by which command.

    Returns:
        The path of the page.

    Raises:
        ReportError: The values are not those of a probe, a figure cannot be drawn, or a file cannot be written.
    """
    shown = shareable(probe_document(document), include_neurons=include_neurons)
    return write_page(render_probe(shown, work.rows(hide=shown.withheld)), directory)


def render_probe(probe: ProbeDocument, made: Made = ()) -> Page:
    """Draw a document that has already been made shareable.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    document = probe.model_dump(mode="json")
    sheet = Sheet("probe.html.jinja", _FILTERS)
    return sheet.page(
        document=document,
        words=probe_words,
        sums=sheet.draw("probe-sums", probe_figures.sums(document), probe_words.agreement(document)),
        ladders=sheet.draw(
            "probe-ladders", probe_figures.ladders(document), "Shift of F against k for the circuit and its controls."
        ),
        grid=sheet.draw(
            "probe-grid", probe_figures.grid(document), "Shift of F by layer and strength of an injection."
        ),
        ranking=sheet.draw(
            "probe-ranking", probe_figures.ranking(document), "Importance of the first neurons, and their layers."
        ),
        flips=sheet.draw(
            "probe-flips",
            probe_figures.ratio_against_effect(document),
            f"{probe_words.headline(document)}. {probe_words.prediction(document)}",
        ),
        stability=sheet.draw(
            "probe-stability", probe_figures.stability(document), "Overlap of the top k when pairs are resampled."
        ),
        origin=[*made, *_origin(document)],
        notes=wording.gathered(document["notes"]),
    )


def _origin(document: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    model = document["model"]
    seed = document["seed"]
    return [
        ("model", f"{model['name']} ({model['source']})" if model["source"] != model["name"] else model["name"]),
        ("weights fingerprint", model["fingerprint"]),
        ("architecture", f"{model['family']}, {model['layers']} layers, width {model['d_model']}"),
        ("numbers", model["dtype"]),
        ("chat template", model["chat_template"] or "none"),
        ("system prompt", model["system_prompt"] or "none"),
        ("thinking", model["thinking"]),
        ("model organism", "yes" if model["organism"] else "no"),
        ("passes", probe_words.budget(document)),
        ("seed", None if seed is None else str(seed)),
    ]


def draw_probe(document: Mapping[str, Any], path: Path) -> None:
    """Draw the ladders into one SVG file.

    Raises:
        ReportError: There is nothing to draw, or the file cannot be written.
    """
    specification = probe_figures.ladders(document)
    if specification is None:
        raise ReportError("the probe has no ladder to draw", "give --sizes that some layer can hold")
    write_svg(path, render(specification, "figure", probe_words.headline(document)))
