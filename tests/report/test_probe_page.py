"""The page of a probe says what its document says, offline, and withholds what must not be shared."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

import controlwindow as cw
import tiny_models
from controlwindow.report.pages.probe import words as probe_words
from controlwindow.report.pages.probe.document import probe_document
from controlwindow.report.pages.probe.page import draw_probe, render_probe, write_probe_report
from controlwindow.report.pages.probe.terminal import probe_terminal
from controlwindow.report.sharing import shareable
from controlwindow.runs import session
from controlwindow.values import round_floats
from own_script import without_own_script
from small_probe import DETECTOR, small_behavior


@pytest.fixture(scope="module")
def document():
    patch = pytest.MonkeyPatch()
    patch.setattr(session, "set_detector", lambda *_: DETECTOR)
    try:
        return round_floats(cw.probe(tiny_models.llama(), small_behavior(), sizes=[1, 4], passes=1500).to_json())
    finally:
        patch.undo()


def page_of(document, **asked) -> str:
    return render_probe(shareable(probe_document(document), **asked)).html


def test_the_page_is_one_inert_file_with_every_figure(document, tmp_path) -> None:
    path = write_probe_report(document, tmp_path)
    html = path.read_text("utf-8")
    assert "<script" not in without_own_script(html)
    assert not re.search(r"(?:src|href)=[\"']?https?:", html)
    stems = {f"probe-{name}" for name in ("sums", "ladders", "grid", "ranking", "flips", "stability")}
    assert {figure.stem for figure in (tmp_path / "figures").glob("*.svg")} == stems
    for figure in (tmp_path / "figures").glob("*.svg"):
        ElementTree.fromstring(figure.read_text("utf-8"))
    assert probe_words.headline(document)[1:] in html
    assert document["ranking"]["top"][0]["neuron"] in html
    for line in document["effects"]:
        assert probe_words.signed(line["shift"]) in html
    for pair in document["sums"]["pairs"]:
        assert pair["pair"] in html


def test_sensitive_neurons_and_doses_are_withheld_on_models_that_are_no_organisms(document) -> None:
    secret = {**document, "sensitive": True}
    hidden = without_own_script(page_of(secret))
    names = {row["neuron"] for row in document["ranking"]["top"]}
    assert not any(name in hidden for name in names)
    assert "layers, strengths and importances are withheld" in hidden
    assert "‖r‖" not in hidden
    assert "k = " not in hidden
    assert ">seed<" not in hidden
    shown = page_of(secret, include_neurons=True)
    assert all(name in shown for name in names)
    organism = {**secret, "model": {**document["model"], "organism": True}}
    assert all(name in page_of(organism) for name in names)


def test_lines_without_a_control_are_marked(document) -> None:
    lines = [{**line, "controls": {**line["controls"], "complete": False}} for line in document["effects"]]
    verdict = {**document["verdict"], "complete": False}
    html = page_of({**document, "effects": lines, "verdict": verdict})
    assert html.count("a control could not run") >= len(lines)
    assert "At least one control of the verdict could not run" in html


def test_words_say_what_was_predicted_and_found(document) -> None:
    ratio = {**document["ratio"], "predicted": "routing", "ratio": 0.1, "injection_predicted": False}
    verdict = {**document["verdict"], "kind": "opposition", "ratio_agrees": False, "injection_moves": False,
               "injection_agrees": True}  # fmt: skip
    said = probe_words.prediction({**document, "ratio": ratio, "verdict": verdict})
    assert "routing" in said
    assert "the interventions say opposition" in said
    assert "outside 0.3–1.1" in said
    assert "does not work, as that predicts" in said


def test_what_becomes_of_the_text_stands_beside_the_verdict(document) -> None:
    line = {
        "setting": {"intervention": "inject_mean_difference", "size": 0, "factor": 0.0, "layer": 3, "strength": 0.8},
        "flips": 0.25, "interval": [0.1, 0.5], "n": 16, "coherent": 0.3,
    }  # fmt: skip
    weaker = {**line, "setting": {**line["setting"], "intervention": "ablate", "size": 4, "layer": -1}, "flips": 0.1}
    said = probe_words.reach({**document, "rollouts": [weaker, line]})
    assert "Inject mean difference (layer 3, 0.80 ‖r‖) flips most: 25 % [10 %, 50 %] of 16" in said
    assert "70 % of its rollouts collapse" in said
    assert probe_words.reach({**document, "rollouts": []}) == ""


def test_figures_of_few_layers_keep_their_size(document, tmp_path) -> None:
    write_probe_report(document, tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    svg = (tmp_path / "figures" / "probe-grid.svg").read_text("utf-8")
    width = float(re.search(r"--width:(\d+)px", svg)[1])
    assert width == pytest.approx(float(re.search(r'viewBox="0 0 (\S+) ', svg)[1]), abs=1)
    assert width < 640
    # The least width of a broad figure must not reach beyond the figure's own.
    assert "min-width:min(40rem,var(--width,40rem))" in html


def test_the_ladders_are_drawn_to_a_file(document, tmp_path) -> None:
    draw_probe(document, tmp_path / "deep" / "ladders.svg")
    assert (tmp_path / "deep" / "ladders.svg").read_text("utf-8").startswith("<svg")


def test_a_verdict_against_the_ratio_says_so_in_the_headline(document) -> None:
    ratio = {**document["ratio"], "predicted": "opposition"}
    against = {**document, "ratio": ratio, "verdict": {**document["verdict"], "kind": "routing", "ratio_agrees": False}}
    assert "although the FFN-to-skip ratio predicted opposition" in probe_words.headline(against)
    agreed = {**against, "verdict": {**against["verdict"], "ratio_agrees": True}}
    assert "although" not in probe_words.headline(agreed)


def test_the_floor_of_few_pairs_is_said_to_be_one(document) -> None:
    line = {**document["effects"][0], "p": 2 / 2**8, "n": 8}
    said = probe_words.floor({**document, "effects": [line] * 18, "rollouts": []})
    assert "With 8 pairs no p on F can lie below 0.141 after Holm over 18 lines" in said
    assert probe_words.floor({**document, "effects": [{**line, "n": 16}] * 18, "rollouts": []}) == ""


def test_the_terminal_withholds_what_the_page_withholds(document) -> None:
    secret = {**document, "sensitive": True}
    names = {row["neuron"] for row in document["ranking"]["top"][:10]}

    def printed(**asked) -> str:
        console = Console(width=160, file=io.StringIO())
        for line in probe_terminal(secret, **asked):
            console.print(line)
        return console.file.getvalue()

    assert not any(name in printed() for name in names)
    assert "‖r‖" not in printed()
    assert all(name in printed(include_neurons=True) for name in names)
