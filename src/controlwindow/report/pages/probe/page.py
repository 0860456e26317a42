"""The page of a probe: one offline file, and its figures beside it."""

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
from controlwindow.report.pages.probe import figures as probe_figures
from controlwindow.report.pages.probe import words as probe_words
from controlwindow.report.templating import page_template
from controlwindow.report.writing import write_page, write_svg


def write_probe_report(document: Mapping[str, Any], directory: Path, *, include_neurons: bool = False) -> Path:
    """Write `report.html` and `figures/*.svg` into a run directory.

    Args:
        document: The probe's results, as `ProbeResult.to_json` gives them.
        directory: The run directory.
        include_neurons: Name neurons and doses of a sensitive behavior on a model that is no organism.

    Returns:
        The path of the page.

    Raises:
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    return write_page(render_probe(shareable_probe(document, include_neurons=include_neurons)), directory)


def shareable_probe(document: Mapping[str, Any], *, include_neurons: bool = False) -> dict[str, Any]:
    """The document without names of neurons, layers and strengths, where they must not be shared.

    That is for sensitive behaviors on models that are no organisms.
    """
    hide = document["sensitive"] and not document["model"]["organism"] and not include_neurons
    found = {**document, "withheld": hide}
    top = [
        {**row, "layer": None if hide else int(row["neuron"].split(".")[0][1:])} for row in document["ranking"]["top"]
    ]
    if hide:
        top = [{**row, "neuron": "withheld"} for row in top]
        found["grid"] = []
        found["effects"] = [_without_dose(line) for line in document["effects"]]
        found["rollouts"] = [_without_dose(line) for line in document["rollouts"]]
        found["chosen"] = {name: _without_dose(line) for name, line in document["chosen"].items()}
    found["ranking"] = {**document["ranking"], "top": top}
    return found


def _without_dose(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line without where and how strongly a direction is injected; sizes of sets are no handle."""
    if line["setting"]["layer"] < 0:
        return dict(line)
    return {**line, "setting": {**line["setting"], "layer": None, "strength": None}}


def render_probe(document: Mapping[str, Any]) -> Page:
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

    style = resources.files("controlwindow.report").joinpath("templates/report.css").read_text("utf-8")
    html = _template().render(
        document=document,
        style=Markup(style),
        words=probe_words,
        sums=draw("probe-sums", probe_figures.sums(document), probe_words.agreement(document)),
        ladders=draw(
            "probe-ladders", probe_figures.ladders(document), "Shift of F against k for the circuit and its controls."
        ),
        grid=draw("probe-grid", probe_figures.grid(document), "Shift of F by layer and strength of an injection."),
        ranking=draw(
            "probe-ranking", probe_figures.ranking(document), "Importance of the first neurons, and their layers."
        ),
        flips=draw(
            "probe-flips",
            probe_figures.ratio_against_effect(document),
            f"{probe_words.headline(document)}. {probe_words.prediction(document)}",
        ),
        stability=draw(
            "probe-stability", probe_figures.stability(document), "Overlap of the top k when pairs are resampled."
        ),
    )
    return Page(html, drawn)


def draw_probe(document: Mapping[str, Any], path: Path) -> None:
    """Draw the ladders into one SVG file.

    Raises:
        ReportError: The file cannot be written.
    """
    svg = render(probe_figures.ladders(document), "figure", probe_words.headline(document))
    write_svg(path, svg)


@lru_cache(maxsize=1)
def _template() -> Template:
    filters: dict[str, Callable[..., Any]] = {
        "number": wording.number,
        "percent": wording.percent,
        "outcome": wording.outcome_name,
        "visible": wording.visible,
        "bounds": probe_words.bounds,
        "signed": probe_words.signed,
        "probability": probe_words.probability,
        "setting": probe_words.setting,
    }
    return page_template("probe.html.jinja", filters)
