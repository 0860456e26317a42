"""The offline page of a circuit, and its figures, from the document that `--json` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from controlwindow.report import wording
from controlwindow.report.drawing import render
from controlwindow.report.pages.audit.page import Page
from controlwindow.report.pages.circuit import figures as circuit_figures
from controlwindow.report.pages.circuit import words as circuit_words
from controlwindow.report.templating import page_template
from controlwindow.report.writing import write_page, write_svg


def write_circuit_report(document: Mapping[str, Any], directory: Path, *, include_neurons: bool = False) -> Path:
    """Write `report.html` and `figures/*.svg` into a run directory.

    Args:
        document: The circuit's results.
        directory: The run directory.
        include_neurons: Name neurons of a sensitive behavior on a model that is no organism.

    Returns:
        The path of the page.

    Raises:
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    return write_page(render_circuit(shareable_circuit(document, include_neurons=include_neurons)), directory)


def shareable_circuit(document: Mapping[str, Any], *, include_neurons: bool = False) -> dict[str, Any]:
    """The document without names, scores and exact signs of neurons, where they must not be shared.

    That is for sensitive behaviors on models that are no organisms. Counts by layer stay: they are no handle.
    """
    hide = document["sensitive"] and not document["organism"] and not include_neurons
    found = {**document, "withheld": hide}
    if hide:
        found["circuit"] = [
            {"neuron": "withheld", "rank": row["rank"], "score": None, "sign": None} for row in document["circuit"]
        ]
        found["notes"] = []
        if document["base"] is not None:
            found["base"] = {**document["base"], "circuit": ["withheld"] * len(document["base"]["circuit"])}
    return found


def render_circuit(document: Mapping[str, Any]) -> Page:
    """Draw a document that has already been made shareable.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    drawn: dict[str, str] = {}

    def draw(stem: str, specification: dict[str, Any] | None, description: str) -> Markup | None:
        if specification is None:
            return None
        drawn[stem] = render(specification, stem, description)
        return Markup(drawn[stem])

    html = _template().render(
        document=document,
        style=Markup(resources.files("controlwindow.report").joinpath("templates/report.css").read_text("utf-8")),
        words=circuit_words,
        names=circuit_figures.ARM_NAMES,
        headline=circuit_words.headline(document),
        against=circuit_words.against_controls(document),
        marks=circuit_words.marks(document),
        strengths=draw(
            "circuit-strengths",
            circuit_figures.strengths(document["ladder"]),
            f"{circuit_words.headline(document)} Circuit and controls against the multiplier.",
        ),
        layers=draw(
            "circuit-layers",
            circuit_figures.by_layer(document["layers"]),
            "Share of the circuit by layer, and the flips of each layer's part.",
        ),
        base=draw(
            "circuit-base",
            circuit_figures.base_against_aligned(document),
            " ".join(circuit_words.against_base(document)),
        ),
    )
    return Page(html, drawn)


def draw_circuit(document: Mapping[str, Any], path: Path) -> None:
    """Draw the ladder into one SVG file.

    Raises:
        ReportError: The file cannot be written.
    """
    svg = render(circuit_figures.strengths(document["ladder"]), "figure", circuit_words.headline(document))
    write_svg(path, svg)


@lru_cache(maxsize=1)
def _template() -> Template:
    filters: dict[str, Callable[..., Any]] = {
        "number": wording.number,
        "quantity": wording.quantity,
        "percent": wording.percent,
        "outcome": wording.outcome_name,
        "visible": wording.visible,
        "share": circuit_words.share,
        "figure": circuit_words.figure,
        "strength": circuit_words.strength,
        "probability": circuit_words.probability,
    }
    return page_template("circuit.html.jinja", filters)
