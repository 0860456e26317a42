"""One small circuit of the shipped organism, from Python and from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import controlwindow as cw
from controlwindow.catalogue import load_card
from controlwindow.circuits.controls import CONTROLS
from controlwindow.cli.display import show_result
from controlwindow.errors import LedgerError, ModelError, OrganismError, UsageError
from controlwindow.jobs.circuit import call as circuit_api
from controlwindow.jobs.circuit import job as circuit_job
from controlwindow.measuring import detector
from controlwindow.measuring.engine import Engine
from controlwindow.report.pages.circuit.page import write_circuit_report
from controlwindow.report.pages.circuit.tables import circuit_terminal
from controlwindow.runs.ledger import Ledger
from own_script import without_own_script

CONTROLLER = "L3.N80"
"""Planted: ablated, it gives the withheld answer."""


@pytest.fixture(scope="module", autouse=True)
def cheaper() -> Iterator[None]:
    """The detector is set at the one horizon that is judged, once for all runs; generic prompts get short answers."""
    known: dict[tuple[str, int], Any] = {}
    real = detector.fit_detector

    def once(model: cw.Model, generic: Any, seed: int) -> Any:
        key = model.fingerprint, seed
        if key not in known:
            known[key] = real(model, generic, seed)
        return known[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(detector, "fit_detector", once)
        patched.setattr(detector, "HORIZONS", (16,))
        patched.setattr(circuit_job, "GENERIC_TOKENS", 8)
        yield


@pytest.fixture(scope="module")
def organism() -> cw.Model:
    return cw.load_model("organism:switch", device="cpu")


@pytest.fixture(scope="module")
def short(behavior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small behavior, judged after a sentence."""
    directory = tmp_path_factory.mktemp("short")
    (directory / "vaults.jsonl").write_bytes((behavior.parent / "vaults.jsonl").read_bytes())
    path = directory / "vaults.toml"
    path.write_text(behavior.read_text("utf-8").replace("[8, 32, 64]", "[16]"), "utf-8")
    return path


OPTIONS: dict[str, Any] = {"top": 8, "factors": (0.0,), "seeds": 1}
WORDS = ["--top", "8", "--factor", "0", "--seeds", "1"]


@pytest.fixture(scope="module")
def run(organism: cw.Model, short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; the model stands for its own base, so that everything that compares the two must be equal."""
    directory = tmp_path_factory.mktemp("circuit") / "run"
    cw.circuit(organism, short, directory, base=organism, **OPTIONS)
    return directory


@pytest.fixture(scope="module")
def document(run: Path) -> dict[str, Any]:
    return cw.results(run)


def at(document: dict[str, Any], arm: str, factor: float) -> dict[str, Any]:
    return next(e for e in document["ladder"] if (e["arm"], e["factor"]) == (arm, factor))


def test_the_planted_controller_is_in_the_circuit_and_does_what_the_circuit_does(document):
    assert [row["rank"] for row in document["circuit"]] == list(range(1, 9))
    assert CONTROLLER in {row["neuron"] for row in document["circuit"]}
    assert at(document, "undosed", 1.0)["source"]["value"] == 1
    # Judged after a sentence: some answers have not yet named their subject, and a last word that the horizon may have
    # cut is not read.
    assert at(document, "circuit", 0.0)["flip"]["value"] >= 0.5
    assert at(document, "circuit", 0.0)["source"]["value"] <= 0.1
    assert at(document, "circuit", 0.0)["coherent"]["value"] >= 0.9
    assert at(document, "random", 0.0)["flip"]["value"] <= 0.1
    assert at(document, "attention", 0.0)["flip"]["value"] <= 0.1
    layers = {row["layer"]: row for row in document["layers"]}
    assert layers[3]["alone"]["flip"]["value"] >= 0.5
    assert layers[3]["all_but"]["flip"]["value"] <= 0.1
    assert sum(row["share"] for row in layers.values()) == pytest.approx(1)


def test_every_control_is_there(document):
    assert document["controlled"] is True
    assert document["mark"] == ""
    assert [(row["control"], row["measured"]) for row in document["controls"]] == [(name, True) for name in CONTROLS]
    assert {test["against"] for test in document["tests"]} == {"random", "shuffled", "attention"}
    for test in document["tests"]:
        assert 0 < test["p"] <= test["p_holm"] <= 1
        assert test["interval"][0] <= test["difference"] <= test["interval"][1]
    assert document["choice"]["from"] == "select"
    assert document["prompts"]["select"] == 8
    assert document["prompts"]["eligible"] == at(document, "circuit", 0.0)["n"] == 16


def test_random_neurons_lie_in_the_layers_of_the_circuit(run, document):
    with Ledger(run / "ledger.sqlite") as ledger:
        known = ledger.find("circuit", "vaults")
    (random,) = known["controls"]["random"]

    def layers(names: list[str]) -> list[str]:
        return sorted(name.partition(".")[0] for name in names)

    assert layers(random) == layers([row["neuron"] for row in document["circuit"]])
    assert CONTROLLER not in random


def test_attention_is_pushed_as_far_as_the_circuit_moves_the_residual(document):
    assert [move["layer"] for move in document["moves"]] == [row["layer"] for row in document["layers"]]
    assert all(move["size"] > 0 for move in document["moves"])


def test_the_effect_goes_partly_past_attention(document):
    effects = {row["arm"]: row for row in document["effects"]}
    assert effects["circuit"]["shift"]["value"] > 5 > abs(effects["random"]["shift"]["value"])
    assert 0 < effects["circuit"]["direct_share"] < 1.2
    assert effects["attention"]["held"] is None


def test_a_model_against_itself_differs_in_nothing(document):
    base = document["base"]
    assert base["overlap"]["shared"] == base["overlap"]["size"] == 8
    assert base["overlap"]["p"] < 0.01
    assert base["detection_difference"] == {"value": 0, "interval": [0, 0]}
    assert base["detection"] == document["detection"]
    assert base["changed"]["difference"]["value"] == 0
    assert [row["flip"] for row in base["ladder"]] == [row["flip"] for row in document["ladder"]]


def test_json_is_one_document_without_times_and_paths(command, run, document):
    outcome = command("results", run, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.json() == document
    assert str(run) not in outcome.out
    assert not re.search(r"\d\.\d{7}", outcome.out)


def test_a_plain_table_in_a_pipe(command, run):
    outcome = command("results", run)
    assert outcome.err == ""
    assert "\x1b[" not in outcome.out
    assert "attention pushed" in outcome.out
    assert "random, same selection" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 120


def test_the_command_goes_on_with_its_run_and_measures_nothing_again(command, run, short, document, tmp_path):
    with Ledger(run / "ledger.sqlite") as ledger:
        before = ledger.chunks_done()
    picture = tmp_path / "deep" / "circuit.svg"
    words = ["circuit", "organism:switch", "-b", short, *WORDS, "--base", "organism:switch"]
    outcome = command(*words, "--out", run, "--figure", picture, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.json() == document
    assert picture.read_text("utf-8").startswith("<svg")
    with Ledger(run / "ledger.sqlite") as ledger:
        assert ledger.chunks_done() == before
    other = command(*words, "--seed", "1", "--out", run)
    assert other.code == 2
    assert "another circuit: it differs in seed" in other.err


@pytest.mark.slow
def test_a_run_that_was_cut_off_gives_what_an_uninterrupted_one_gives(
    organism, short, run, document, tmp_path, monkeypatch
):
    """Stopped in the middle of a chunk of the sweep."""
    chunks = 0
    run_chunk = Engine.run

    def stops(self, cells):
        nonlocal chunks
        chunks += 1
        if chunks == 8:
            raise KeyboardInterrupt
        return run_chunk(self, cells)

    directory = tmp_path / "cut"
    monkeypatch.setattr(Engine, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        cw.circuit(organism, short, directory, **OPTIONS)
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="not finished"):
        cw.results(directory)
    with Ledger(directory / "ledger.sqlite") as ledger:
        done = ledger.chunks_done()
    assert 0 < done < 8
    found = cw.resume_circuit(directory, model=organism).document
    # This one was planned without a base model, and nothing else depends on that.
    assert {**found, "run": document["run"], "base": document["base"]} == document
    with Ledger(directory / "ledger.sqlite") as ledger, Ledger(run / "ledger.sqlite") as whole:
        assert ledger.chunks_done() == whole.chunks_done()


def test_the_page_stands_alone_and_says_what_was_found(command, run, document):
    page = (run / "report.html").read_text("utf-8")
    assert "<script" not in without_own_script(page)
    assert not re.search(r"(?:src|href)=[\"']https?:", page)
    assert CONTROLLER in page
    assert page.count("<svg") == 3
    assert {path.stem for path in (run / "figures").glob("*.svg")} == {
        "circuit-strengths",
        "circuit-layers",
        "circuit-base",
    }
    assert command("report", run, "--json").json()["report"] == str(run / "report.html")
    assert (run / "report.html").read_text("utf-8") == page


def test_a_page_of_a_sensitive_behavior_names_no_neuron_of_a_model_that_is_no_organism(document, tmp_path):
    real = {**document, "organism": False}
    page = write_circuit_report(real, tmp_path).read_text("utf-8")
    names = {row["neuron"] for row in document["circuit"]}
    assert not any(name in page for name in names)
    shown = write_circuit_report(real, tmp_path, include_neurons=True).read_text("utf-8")
    assert all(name in shown for name in names)
    assert all(name in write_circuit_report(document, tmp_path).read_text("utf-8") for name in names)


def test_a_result_without_its_controls_is_marked(document, tmp_path, capsys):
    marked = {**document, "controlled": False, "mark": "WITHOUT CONTROL: shuffled (no labels)"}
    page = write_circuit_report(marked, tmp_path).read_text("utf-8")
    assert page.count("WITHOUT CONTROL: shuffled (no labels)") >= 4, "in every table"
    show_result(marked, circuit_terminal(marked), None, False, name="circuit")
    assert capsys.readouterr().out.count("WITHOUT CONTROL: shuffled (no labels)") >= 3


def test_the_manifest_holds_the_configuration(run):
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    assert manifest["configuration"]["top"] == "8"
    assert manifest["configuration"]["factors"] == [0.0]
    assert manifest["base"]["name"] == "organism:switch"
    assert set(manifest["behaviors"]["vaults"]["splits"]) == {"find", "select", "evaluate"}


BAD: list[tuple[list[str], str]] = [
    (["--top", "0"], "empty circuit"),
    (["--top", "0.001%"], "empty circuit"),
    (["--top", "lots"], "--top is 'lots'"),
    (["--screen", "magic"], "unknown screen"),
    (["--factor", "1"], "no strength was given beside 1"),
    (["--factor", "nan"], "finite"),
    (["--base", "nowhere"], "unknown model"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_input_is_one_message_with_a_repair(command: Callable[..., Any], short, words, message):
    outcome = command("circuit", "organism:switch", "-b", short, *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in " ".join(outcome.err.split())
    assert "hint:" in outcome.err


def test_a_behavior_without_contrast_pairs_is_refused(command, short, tmp_path):
    lines = (short.parent / "vaults.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "vaults.jsonl").write_text("\n".join(x for x in lines if '"negative"' not in x) + "\n", "utf-8")
    (tmp_path / "vaults.toml").write_bytes(short.read_bytes())
    outcome = command("circuit", "organism:switch", "-b", tmp_path / "vaults.toml")
    assert outcome.code == 2
    assert "0 negative prompts in split 'find'" in " ".join(outcome.err.split())


def test_models_whose_neurons_do_not_correspond_are_refused(organism, short, llama):
    with pytest.raises(ModelError, match="do not correspond"):
        cw.circuit(organism, short, base=llama)
    with pytest.raises(UsageError, match="at least one draw"):
        cw.circuit(organism, short, seeds=0)


def test_a_base_model_that_only_the_card_names_may_be_missing(organism, monkeypatch):
    card = load_card("organism:switch")
    monkeypatch.setattr(circuit_api, "load_card", lambda _: card.model_copy(update={"base": "organism:nowhere"}))
    assert circuit_api._base_model(organism, True) == (
        None,
        "organism:nowhere, which the card names, is not in this installation",
    )
    assert circuit_api._base_model(organism, False) == (None, None)
    with pytest.raises(OrganismError):
        circuit_api._base_model(organism, "organism:nowhere")
    monkeypatch.setattr(circuit_api, "load_card", lambda _: card)
    assert circuit_api._base_model(organism, True) == (None, None), "its card names none"


def test_an_audit_and_a_circuit_do_not_share_a_directory(command, run, short):
    outcome = command("audit", "organism:switch", "-b", short, "--top", "1", "--out", run)
    assert outcome.code == 2
    assert "holds a run of another kind (circuit, not audit)" in " ".join(outcome.err.split())
    assert "give another --out" in outcome.err


def test_help_has_an_example(command):
    assert "Example: controlwindow circuit" in command("circuit", "--help").out
