"""Verdicts and failure modes: strata, paired tests, rules chosen on calibration alone."""

from __future__ import annotations

from math import comb

import pytest

from controlwindow.jobs.law.rules import FLIP_RULE, majority, simple_rules
from controlwindow.jobs.law.triggers import trigger_scores
from controlwindow.jobs.law.verdicts import (
    ceiling_committed,
    failure_scores,
    paired_test,
    verdict_scores,
)
from law_records import forecast, record

FIRST = {"gradient": [2.0, 0.99]}


def controllers():
    """Ten pairs with an effect, half of them open; the forecast is right on nine."""
    found = []
    for i in range(10):
        opened = i % 2 == 0
        said = opened if i else not opened
        found.append(
            record(
                neuron=f"L1.N{i}",
                target_trigger=0.4 if opened else 0.75,
                trigger=0.4 if opened else None,
                open=opened,
                failure_mode=None if opened else "collapse_before_trigger",
                first_order=FIRST if opened else {"gradient": [-2.0, 0.3]},
                known=forecast(open=said, failure_mode=None if said else "collapse_before_trigger"),
            )
        )
    return found


def calibration(count: int = 6, opened: int = 3):
    return [
        record(
            role="calibration",
            neuron=f"L2.N{i}",
            target_trigger=0.4,
            open=i < opened,
            trigger=0.4 if i < opened else None,
            first_order=FIRST if i < opened else {"gradient": [2.0, 0.2]},
        )
        for i in range(count)
    ]


def test_a_paired_test_counts_discordant_pairs_alone():
    mine = [True] * 9 + [False] * 2 + [True] * 5
    theirs = [False] * 9 + [True] * 2 + [True] * 5
    exact = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    assert paired_test(mine, theirs) == pytest.approx(exact)
    assert paired_test([True], [True]) == 1.0


def test_verdicts_are_scored_where_the_target_is_reached_coherent_or_not():
    random = [record(neuron=f"L3.N{i}") for i in range(20)]
    nothing = [record(neuron="L3.N99", ceiling=None, failure_mode="no_effect")]
    scores = verdict_scores([*controllers(), *random, *nothing, *calibration()])
    with_effect = scores["with an effect"]["fully_committed"]
    assert with_effect["n"] == 10
    assert with_effect["accuracy"] == 0.9
    assert with_effect["confusion"] == {"open": {"open": 4, "closed": 1}, "closed": {"open": 0, "closed": 5}}
    assert with_effect["majority"]["accuracy"] == 0.5
    assert scores["reached something"]["fully_committed"]["n"] == 30
    assert scores["all"]["fully_committed"]["n"] == 31
    assert scores["no_effect"] == {"n": 1, "predicted_open": 0}


def test_the_ceiling_committed_verdict_uses_the_measured_threshold_and_no_predicted_trigger():
    assert ceiling_committed(record(target_trigger=0.7, known=forecast(0.72)), "known")
    assert not ceiling_committed(record(target_trigger=0.73, known=forecast(0.72)), "known")
    assert ceiling_committed(record(target_trigger=0.73, known=forecast(None)), "known"), "never collapses"
    assert not ceiling_committed(record(target_trigger=None, known=forecast(None)), "known")


def test_the_rule_is_the_best_on_calibration_whatever_it_does_on_held_out_pairs():
    scores = verdict_scores([*controllers(), *calibration()])
    rule = scores["with an effect"]["fully_committed"]["rule"]
    assert rule["name"].startswith("gradient among the top")
    assert rule["accuracy_on_calibration"] == 1.0
    assert rule["accuracy"] == 1.0
    # A rule that would be perfect on the held-out pairs alone is not taken.
    misleading = [{**r, "first_order": {}} for r in calibration(opened=0)]
    scores = verdict_scores([*controllers(), *misleading])
    assert scores["with an effect"]["fully_committed"]["rule"]["name"] == "all closed"


def test_first_order_rules_ask_for_the_branch_too():
    rules = simple_rules(calibration())
    rule = rules["gradient among the top 10%"]
    assert rule(record(first_order=FIRST, branch=1))
    assert not rule(record(first_order=FIRST, branch=-1))
    assert not rule(record(first_order={"gradient": [2.0, 0.5]}))
    assert not rule(record(first_order={}))


def test_failure_modes_are_held_against_the_cards():
    cases = [
        record(answer="open", open=True, failure_mode=None, known=forecast(open=True, failure_mode=None)),
        record(answer="open", open=False),
        record(answer="too_late", failure_mode="too_late", known=forecast(open=False, failure_mode="too_late")),
        record(answer="too_late", failure_mode="no_effect", known=forecast(open=False, failure_mode="too_late")),
        record(answer="closed", failure_mode="collapse_before_trigger"),
        record(answer="closed", open=True, failure_mode=None),
        record(role="calibration", answer="open", open=True, failure_mode=None),
        record(),
    ]
    scores = failure_scores(cases)
    assert scores["measured"]["n"] == 7
    assert scores["measured"]["accuracy"] == pytest.approx(4 / 7)
    assert scores["measured"]["confusion"]["too_late"] == {"no_effect": 1, "too_late": 1}
    assert scores["predicted_known"]["n"] == 6
    assert scores["predicted_known"]["accuracy"] == pytest.approx(5 / 6)


def test_nothing_held_out_gives_no_numbers():
    scores = verdict_scores(calibration())
    assert scores["with an effect"]["fully_committed"]["accuracy"] is None
    assert scores["with an effect"]["fully_committed"]["majority"] is None
    assert failure_scores([record()])["measured"]["accuracy"] is None


def test_triggers_are_scored_where_they_are_reached_and_foreseen_everywhere():
    def pair(measured, *said, source="random", **changes):
        return record(trigger=measured, source=source, known=forecast(trigger=list(said)), **changes)

    pairs = [
        pair(0.30, 0.34, 0.2, 0.4, 0.1, neuron="L1.N1"),
        pair(0.50, 0.42, 0.3, 0.45, 0.2, neuron="L1.N2"),
        pair(0.40, None, 0.3, 0.6, 0.7, neuron="L1.N3"),
        pair(None, None, 0.3, 0.6, 0.9, neuron="L1.N4"),
        pair(None, 0.35, 0.3, 0.6, 0.4, neuron="L1.N5"),
        pair(0.2, 0.2, 0.1, 0.3, 0.0, source="planted"),
    ]
    found = trigger_scores(pairs, "known")
    natural = found["natural"]
    assert (natural["pairs"], natural["reached"], natural["predicted_reached"]) == (5, 3, 3)
    assert natural["mae"]["value"] == pytest.approx((0.04 + 0.08) / 2)
    assert (natural["mae"]["n"], natural["reached_and_predicted"]) == (2, 2), (
        "the third of those reached is not foreseen"
    )
    assert natural["coverage"] == pytest.approx(2 / 3)
    # Chances of those reached are 0.9, 0.8, 0.3, of the others 0.1 and 0.6: five of six pairs are in order.
    assert natural["auc_reached"] == pytest.approx(5 / 6)
    assert found["planted"]["auc_reached"] is None
    assert found["planted"]["coverage"] == 1.0


def test_an_oracle_of_groups_says_what_most_of_its_group_show():
    pairs = [record(source="natural", open=True, neuron=f"L1.N{i}") for i in range(3)]
    pairs += [record(source="random", open=i == 0, neuron=f"L2.N{i}") for i in range(4)]
    assert [majority(pairs, ("source",))(r) for r in pairs] == [True] * 3 + [False] * 4
    assert [majority(pairs, ())(r) for r in pairs] == [True] * 7, "four of seven are open"
    assert majority([record(open=True), record(open=False)], ())(record()), "a tie is open"


def test_rivals_are_scored_on_the_same_pairs_and_over_lineages():
    """Lineage a: forecast right on four of four, majority of its model on three; b: right on two of four, on three."""
    pairs = []
    for lineage, truths, said in (("a", (1, 1, 1, 0), (1, 1, 1, 0)), ("b", (0, 0, 0, 1), (0, 0, 1, 0))):
        for i, (truth, verdict) in enumerate(zip(truths, said, strict=True)):
            pairs.append(
                record(
                    model=lineage, lineage=lineage, neuron=f"L1.N{i}", target_trigger=0.4, open=bool(truth),
                    flip=0.5 if i < 2 else None, known=forecast(open=bool(verdict)),
                )
            )  # fmt: skip
    found = verdict_scores(pairs, "known")["with an effect"]["fully_committed"]
    assert found["accuracy"] == 0.75
    by_model = found["rivals"]["majority of model and behavior"]
    assert by_model["accuracy"] == 0.75
    assert by_model["difference"]["value"] == 0.0
    # A quarter better in one lineage, a quarter worse in the other: with one degree of freedom t is 12.7.
    assert by_model["difference"]["interval"] == pytest.approx([-0.25 * 12.7062, 0.25 * 12.7062], rel=1e-4)
    assert by_model["p_value"] == 1.0
    assert found["rivals"]["majority of the source"]["accuracy"] == 0.5
    # Two flips lie below the median ceiling of their model in each lineage: right on two and one, and on none.
    assert found["rivals"][FLIP_RULE]["accuracy"] == pytest.approx((3 + 1) / 8)


def test_the_flip_rule_reads_the_models_median_ceiling_of_calibration():
    rule = simple_rules([record(role="calibration", ceiling=c) for c in (0.4, 0.6, 0.9)])[FLIP_RULE]
    assert rule(record(flip=0.59))
    assert not rule(record(flip=0.61))
    assert not rule(record(flip=None))
