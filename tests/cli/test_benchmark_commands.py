"""`organisms check` and `organisms score` as a user meets them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from controlwindow.catalogue import load_card
from controlwindow.validation import checking
from controlwindow.validation.scoring import score_organism, summarise_scores
from own_script import without_own_script


@pytest.fixture
def checked(monkeypatch):
    """A finished check of the shipped organism, without its audit."""
    card = load_card("organism:switch")
    windows = [
        {
            "neuron": p.neuron, "behavior": p.behavior, "branch": p.branch, "verdict": verdict, "decided": True,
            "candidate_from": "planted", "trigger": 0.2, "trigger_interval": [0.1, 0.3], "ceiling": 0.9,
        }
        for p, verdict in zip(card.planted, ("open", "closed"), strict=True)
    ]  # fmt: skip
    score = score_organism(card, windows, {"refusal": {"L3.N80": 8}}, {"arithmetic": "too few prompts"}, top=2)
    document = summarise_scores([score], ["organism:moon"])
    seen = []

    def check(directory, organisms, **options):
        seen.append((organisms, options["screen"], options["top"], options["natural"]))
        return document

    monkeypatch.setattr(checking, "check_organisms", check)
    return document, seen


def test_a_check_prints_every_known_neuron_with_intervals_and_what_is_missing(command, checked, tmp_path):
    outcome = command("organisms", "check", "--organism", "switch", "--top", "3", "--out", tmp_path)
    assert outcome.code == 0
    assert checked[1] == [(["switch"], "contrastive", 3, 2)]
    lines = outcome.out.splitlines()
    assert any("L3.N80 −" in line and "planted by ablation" in line and line.endswith("right") for line in lines)
    assert any("L4.N160 +" in line and line.endswith("wrong") for line in lines)
    assert any(line.startswith("planted controllers opened") and "1 of 2" in line for line in lines)
    assert "not in this installation: organism:moon" in outcome.out
    assert "arithmetic: not audited: too few prompts" in outcome.out
    assert json.loads((tmp_path / "check.json").read_text("utf-8")) == checked[0]
    figure = ElementTree.parse(tmp_path / "check.svg").getroot()
    assert "planted controllers opened: 1 of 2" in figure.attrib["aria-label"]
    page = without_own_script((tmp_path / "check.html").read_text("utf-8"))
    assert "<script" not in page
    assert page.count("<td>L3.N80 −</td>") == page.count("<b>wrong</b>") == 1
    assert "arithmetic: not audited: too few prompts" in page
    assert outcome.out.rstrip().endswith(f"report: {tmp_path / 'check.html'}")


def test_a_checks_json_has_the_contract(command, checked, tmp_path):
    outcome = command("organisms", "check", "--out", tmp_path, "--json")
    assert outcome.err == ""
    document = outcome.json()
    assert set(document) >= {
        "organisms", "planted_recall", "planted_recall_interval", "failure_mode_accuracy", "decoys_opened",
    }  # fmt: skip
    assert document["planted_recall"] == 0.5
    assert document["organisms"][0]["name"] == "organism:switch"


def test_a_method_is_scored_from_its_file(command, tmp_path):
    entry = tmp_path / "mine.json"
    case = {"organism": "switch", "behavior": "refusal", "ranking": ["L0.N1", "L3.N80"]}
    entry.write_text(json.dumps({"method": "mine", "cases": [case]}), "utf-8")
    outcome = command("organisms", "score", entry, "--organism", "switch", "--figure", tmp_path / "mine.svg")
    assert outcome.code == 0
    assert "planted recall at 4" in outcome.out
    assert "nothing is said of organism:switch language" in outcome.out.replace("\n", " ")
    document = command("organisms", "score", entry, "--json").json()
    assert document["rates"]["planted recall at 1"]["k"] == 0
    assert document["rates"]["planted recall at 4"]["k"] == 1
    assert "planted recall at 1: 0 of 1" in (tmp_path / "mine.svg").read_text("utf-8")


def test_a_bad_entry_is_one_message_with_its_repair(command, tmp_path):
    entry = tmp_path / "mine.json"
    entry.write_text(json.dumps({"method": "mine", "cases": [{"organism": "switch", "behavior": "refusal"}]}), "utf-8")
    outcome = command("organisms", "score", entry)
    assert outcome.code == 2
    assert "cases.0" in outcome.err
    assert "controlwindow guide organisms" in outcome.err
    assert "Traceback" not in outcome.err
