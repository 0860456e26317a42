"""Scoring an audit against a card: what is known by construction and by census must be found, on its branch."""

from __future__ import annotations

import json

import pytest
from cards import card

from controlwindow.validation.scoring import describe_rates, score_organism, summarise_scores


def window(neuron: str, branch: int, verdict: str, behavior: str = "a", source: str = "planted", **more) -> dict:
    return {
        "neuron": neuron, "behavior": behavior, "branch": branch, "verdict": verdict, "candidate_from": source,
        "trigger": 0.3 if verdict == "open" else None, "ceiling": 0.8, "failure_mode": None, "decided": True, **more,
    }  # fmt: skip


def perfect() -> list[dict]:
    return [
        window("L0.N1", -1, "open"),
        window("L0.N1", 1, "closed"),
        window("L1.N1", 1, "open"),
        window("L2.N1", 1, "open", "b"),
        window("L0.N5", 1, "open", source="named"),
        window("L3.N1", 1, "closed", source="named", failure_mode="too_late"),
        window("L0.N2", 1, "closed", source="named", failure_mode="no_effect"),
        window("L1.N6", 1, "closed", source="random", failure_mode="no_effect"),
        window("L1.N2", 1, "closed", "c", "random", failure_mode="no_effect"),
        window("L1.N2", -1, "closed", "c", "random", failure_mode="no_effect"),
    ]


def changed(**of: dict) -> list[dict]:
    return [{**w, **of.get(w["neuron"].replace(".", "_"), {})} for w in perfect()]


def summary(windows: list[dict], **given) -> dict:
    return summarise_scores([score_organism(card(), windows, **given)])


def test_an_audit_that_finds_everything():
    ranks = {"a": {"L0.N1": 3, "L1.N1": 1}, "b": {"L2.N1": None}}
    document = summary(perfect(), ranks=ranks, top=2)
    assert document["planted_recall"] == 1
    assert document["planted_recall_interval"][0] == pytest.approx(0.025 ** (1 / 3))
    assert document["failure_mode_accuracy"] == 1
    assert (document["decoys_opened"], document["decoys_tested"]) == (0, 1)
    rates = {name: (r["k"], r["n"]) for name, r in document["rates"].items()}
    assert rates == {
        "planted": (3, 3), "natural": (1, 1), "branch": (3, 3), "trigger": (1, 1), "mode": (1, 1), "failures": (1, 1),
        "decoys": (1, 1), "census": (2, 2), "accuracy": (8, 8), "distributed": (1, 1), "found_by_screen": (1, 3),
    }  # fmt: skip
    assert {name: r["n"] for name, r in document["traits"].items()} == {
        "by ablation": 1, "by dose": 2, "early": 1, "silent": 1,
    }  # fmt: skip
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("windows", "rate", "k"),
    [
        (changed(L0_N1={"verdict": "closed"}), "planted", 2),
        (changed(L0_N1={"branch": 1}), "planted", 2),
        (changed(L2_N1={"behavior": "a"}), "planted", 2),
        ([w for w in perfect() if w["neuron"] != "L1.N1"], "planted", 2),
        (changed(L1_N1={"trigger": 0.55}), "trigger", 0),
        (changed(L3_N1={"failure_mode": "no_effect"}), "mode", 0),
        (changed(L3_N1={"verdict": "open"}), "failures", 0),
        (changed(L0_N2={"verdict": "open"}), "decoys", 0),
        (changed(L1_N2={"verdict": "open"}), "distributed", 0),
        (changed(L0_N5={"verdict": "closed"}), "natural", 0),
    ],
)
def test_each_mistake_costs_its_own_rate(windows, rate, k):
    perfect_rate = summary(perfect())["rates"][rate]
    found = summary(windows)["rates"][rate]
    assert (found["k"], found["n"]) == (k, perfect_rate["n"])


def test_a_branch_is_right_only_where_the_other_opens_later():
    both = [window("L0.N1", -1, "open", trigger=0.4), window("L0.N1", 1, "open", trigger=0.3)]
    assert summary(both)["rates"]["branch"]["k"] == 0
    both[1]["trigger"] = 0.5
    assert summary(both)["rates"]["branch"]["k"] == 1


def test_a_controller_of_either_sign_has_no_right_branch():
    planted = card().planted
    even = card(planted=(planted[0].model_copy(update={"traits": ("zero_gradient",)}),))
    windows = [window("L0.N1", -1, "open"), window("L0.N1", 1, "open")]
    assert summarise_scores([score_organism(even, windows)])["rates"]["branch"]["n"] == 0


def test_a_behavior_that_could_not_be_audited_counts_as_missed():
    score = score_organism(card(), [w for w in perfect() if w["behavior"] != "b"], failed={"b": "too few prompts"})
    assert score["failed"] == {"b": "too few prompts"}
    assert summarise_scores([score], ["organism:moon"])["planted_recall"] == pytest.approx(2 / 3)
    assert summarise_scores([score], ["organism:moon"])["missing"] == ["organism:moon"]


def test_an_open_random_neuron_is_marked_with_what_the_census_knows():
    windows = [*perfect(), window("L3.N3", 1, "open", source="random"), window("L0.N5", 1, "open", source="random")]
    score = score_organism(card(), windows)
    assert {o["neuron"]: o["in_census"] for o in score["random_opened"]} == {"L0.N5": True, "L3.N3": False}
    assert summarise_scores([score])["random_open_rate"]["k"] == 2


def test_without_a_known_neuron_there_is_no_rate_and_no_failure():
    bare = card(planted=(), known=(), distributed=(), census=None)
    document = summarise_scores([score_organism(bare, [])])
    assert document["planted_recall"] is None
    assert document["failure_mode_accuracy"] is None
    assert describe_rates(document) == []


def test_lineages_are_the_unit_of_the_wider_interval():
    others = [card(f"organism:{name}", name) for name in ("x", "y", "z")]
    scores = [score_organism(c, perfect() if c.lineage != "z" else []) for c in others]
    planted = summarise_scores(scores)["rates"]["planted"]
    assert (planted["k"], planted["n"]) == (6, 9)
    assert planted["interval_over_lineages"] == [0.0, 1.0]
    assert planted["interval"][0] > 0.2
