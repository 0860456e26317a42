"""The offline page of a circuit, and its figures, from the document that `--json` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controlwindow.report import wording
from controlwindow.report.drawing import render
from controlwindow.report.page import Page, Sheet
from controlwindow.report.pages.circuit import figures as circuit_figures
from controlwindow.report.pages.circuit import words as circuit_words
from controlwindow.report.pages.circuit.document import CircuitDocument, circuit_document
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import write_page, write_svg
from controlwindow.runs.provenance import NO_WORK, Made, Work

_FILTERS: dict[str, Callable[..., Any]] = {
    "share": circuit_words.share,
    "figure": circuit_words.figure,
    "strength": circuit_words.strength,
    "probability": circuit_words.probability,
}


def write_circuit_report(
    document: Mapping[str, Any], directory: Path, *, include_neurons: bool = False, work: Work = NO_WORK
) -> Path:
    """Write `report.html` and `figures/*.svg` into a run directory.

    Args:
        document: The circuit's results, as a ledger holds them.
        directory: The run directory.
        include_neurons: Name neurons of a sensitive behavior on a model that is no organism.
        work: When it was measured, for how long and by which command.

    Returns:
        The path of the page.

    Raises:
        ReportError: The values are not those of a circuit, a figure cannot be drawn, or a file cannot be written.
    """
    shown = shareable(circuit_document(document), include_neurons=include_neurons)
    return write_page(render_circuit(shown, work.rows(hide=shown.withheld)), directory)


def render_circuit(circuit: CircuitDocument, made: Made = ()) -> Page:
    """Draw a document that has already been made shareable.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    document = circuit.model_dump(mode="json")
    sheet = Sheet("circuit.html.jinja", _FILTERS)
    return sheet.page(
        document=document,
        words=circuit_words,
        names=circuit_figures.ARM_NAMES,
        headline=circuit_words.headline(document),
        against=circuit_words.against_controls(document),
        marks=circuit_words.marks(document),
        strengths=sheet.draw(
            "circuit-strengths",
            circuit_figures.strengths(document["ladder"]),
            f"{circuit_words.headline(document)} Circuit and controls against the multiplier.",
        ),
        layers=sheet.draw(
            "circuit-layers",
            circuit_figures.by_layer(document["layers"]),
            "Share of the circuit by layer, and the flips of each layer's part.",
        ),
        base=sheet.draw(
            "circuit-base",
            circuit_figures.base_against_aligned(document),
            " ".join(circuit_words.against_base(document)),
        ),
        origin=[*made, *_origin(document)],
        notes=wording.gathered(document["notes"]),
    )


def _origin(document: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    base = document["base"]
    seed = document["seed"]
    return [
        ("model", document["model"]),
        ("weights fingerprint", document["fingerprint"]),
        ("base model", None if base is None else f"{base['model']}, weights {base['fingerprint']}"),
        ("model organism", "yes" if document["organism"] else "no"),
        ("run", document["run"]),
        ("screen", document["screen"]),
        ("seed", None if seed is None else str(seed)),
        ("draws of every control", str(document["seeds"])),
        ("what every quantity is", "controlwindow guide circuits"),
    ]


def draw_circuit(document: Mapping[str, Any], path: Path) -> None:
    """Draw the ladder into one SVG file.

    Raises:
        ReportError: The file cannot be written.
    """
    svg = render(circuit_figures.strengths(document["ladder"]), "figure", circuit_words.headline(document))
    write_svg(path, svg)
