"""Scoring an audit against a card: a planted controller counts only when it opens on its branch for its behavior."""

from __future__ import annotations

import pytest

from controlwindow.organisms.catalogue import load_card
from controlwindow.validation.scoring import score_organism, summarise_scores

CARD = load_card("organism:switch")


def window(neuron: str, behavior: str, branch: int, verdict: str, source: str = "planted") -> dict:
    return {
        "neuron": neuron, "behavior": behavior, "branch": branch, "verdict": verdict, "candidate_from": source,
        "trigger": 0.2 if verdict == "open" else None, "ceiling": 0.8,
    }  # fmt: skip


def perfect() -> list[dict]:
    return [window(p.neuron, p.behavior, p.branch, "open") for p in CARD.planted]


def test_all_planted_found():
    document = summarise_scores([score_organism(CARD, perfect())])
    assert document["planted_recall"] == 1
    assert document["planted_recall_interval"][0] == pytest.approx(0.025 ** (1 / len(CARD.planted)), abs=1e-6)
    assert document["failure_mode_accuracy"] is None
    assert document["decoys_opened"] == 0


def test_the_wrong_branch_and_the_wrong_behavior_do_not_count():
    first, second = CARD.planted
    windows = [
        window(first.neuron, first.behavior, -first.branch, "open"),
        window(second.neuron, first.behavior, second.branch, "open"),
    ]
    score = score_organism(CARD, windows)
    assert [p["verdict"] for p in score["planted"]] == [None, None]
    assert summarise_scores([score])["planted_recall"] == 0


def test_an_open_random_neuron_is_marked_with_what_the_census_knows():
    known = CARD.census["open"]["refusal"]["neurons"] if CARD.census else []
    windows = [*perfect(), window("L0.N0", "refusal", 1, "open", "random")]
    windows += [window(name, "refusal", 1, "open", "random") for name in known[:1]]
    opened = {o["neuron"]: o["in_census"] for o in score_organism(CARD, windows)["random_opened"]}
    assert opened.get("L0.N0") is ("L0.N0" in known)
    assert all(opened[name] for name in known[:1])
