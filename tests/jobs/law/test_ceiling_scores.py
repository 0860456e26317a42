"""Scores of predicted ceilings against slow references, written apart from the code."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from controlwindow.jobs.law.ceilings import ceiling_scores, covers, log_dose_error
from controlwindow.jobs.law.resampling import cluster_means, mean_estimate, skill_estimate
from law_records import forecast, plain_dose, record


@pytest.fixture(scope="module")
def pairs():
    """Three lineages of different sizes and difficulty; some ceilings are not reached, some predictions neither."""
    generator = random.Random(3)
    found = []
    for model, lineage, count, centre in (("m1", "a", 30, 0.7), ("m2", "a", 10, 0.5), ("m3", "b", 12, 0.8)):
        for i in range(count):
            measured = None if i % 9 == 8 else generator.gauss(centre, 0.03)
            value = None if i % 7 == 6 else centre + generator.gauss(0, 0.02)
            known = forecast(value, *(None if value is None else value + d for d in (-0.05, 0.05)), median=centre)
            found.append(
                record(
                    model=model,
                    lineage=lineage,
                    neuron=f"L1.N{i // 2}",
                    branch=1 - 2 * (i % 2),
                    region=("early", "bulk", "late")[i % 3],
                    ceiling=measured,
                    known=known,
                    left_out={**known, "constant": 0.65},
                )
            )
    found += [record(role="calibration", ceiling=0.1), record(known=None, left_out=None) | {"known": {"ceiling": None}}]
    del found[-1]["left_out"]
    return found


def reached(pairs):
    return [
        r
        for r in pairs
        if r["role"] == "held_out" and r["ceiling"] is not None and r["known"]["ceiling"] and r["known"]["ceiling"][0]
    ]


def test_errors_of_known_models_are_means_over_pairs_reached_on_both_sides(pairs):
    scores = ceiling_scores(pairs, "known")
    errors = [r["known"]["ceiling"][0] - r["ceiling"] for r in reached(pairs)]
    assert scores["pairs"] == 52
    assert scores["mae"]["n"] == len(errors) < 52
    assert scores["mae"]["value"] == pytest.approx(sum(map(abs, errors)) / len(errors))
    assert scores["bias"]["value"] == pytest.approx(sum(errors) / len(errors))
    logs = [
        abs(math.log(plain_dose(r["known"]["ceiling"][0], 0.0) / plain_dose(r["ceiling"], 0.0))) for r in reached(pairs)
    ]
    assert scores["mae_log_t"]["value"] == pytest.approx(sum(logs) / len(logs))
    for region in ("early", "bulk", "late"):
        own = [abs(r["known"]["ceiling"][0] - r["ceiling"]) for r in reached(pairs) if r["region"] == region]
        assert scores["by_region"][region]["value"] == pytest.approx(sum(own) / len(own))
    assert set(scores["by_model"]) == {"m1", "m2", "m3"}


def test_lineages_left_out_weigh_the_same_however_many_pairs_they_have(pairs):
    scores = ceiling_scores(pairs, "left_out")
    by_lineage = {}
    for r in reached(pairs):
        by_lineage.setdefault(r["lineage"], []).append(
            (abs(r["left_out"]["ceiling"][0] - r["ceiling"]), abs(0.65 - r["ceiling"]))
        )
    law = np.mean([np.mean([e for e, _ in errors]) for errors in by_lineage.values()])
    constant = np.mean([np.mean([e for _, e in errors]) for errors in by_lineage.values()])
    assert scores["mae"]["value"] == pytest.approx(law)
    assert scores["skill_vs_chosen_constant"]["value"] == pytest.approx(1 - law / constant)
    assert scores["skill_vs_chosen_constant"]["clusters"] == 2
    assert set(scores["skill_by_lineage"]) == {"a", "b"}
    assert scores["lineages"] == 2


def test_skill_against_the_median_is_taken_on_the_same_pairs(pairs):
    scores = ceiling_scores(pairs, "known")
    law = np.mean([abs(r["known"]["ceiling"][0] - r["ceiling"]) for r in reached(pairs)])
    median = np.mean([abs(r["known"]["median"] - r["ceiling"]) for r in reached(pairs)])
    assert scores["skill_vs_median"]["value"] == pytest.approx(1 - law / median)
    low, high = scores["skill_vs_median"]["interval"]
    assert low < scores["skill_vs_median"]["value"] < high


def test_not_reached_is_a_class(pairs):
    found = ceiling_scores(pairs, "known")["not_reached"]
    held = [r for r in pairs if r["role"] == "held_out" and r["known"]["ceiling"]]
    for measured in ("reached", "not_reached"):
        for said in ("reached", "not_reached"):
            expected = sum(
                (r["ceiling"] is None) == (measured == "not_reached")
                and (r["known"]["ceiling"][0] is None) == (said == "not_reached")
                for r in held
            )
            assert found["confusion"][measured][said] == expected
    assert found["censored_share"] == pytest.approx(sum(r["ceiling"] is None for r in held) / len(held))


def test_an_interval_open_above_covers_what_is_never_reached():
    assert covers([0.7, 0.6, None, 0.2], None)
    assert covers([None, 0.8, None, 0.9], None)
    assert not covers([0.7, 0.6, 0.9, 0.0], None)
    assert not covers([None, 0.8, None, 0.9], 0.7)
    assert not covers([None, None, None, 1.0], 0.9)


def test_a_dose_that_no_curve_gives_has_no_log_error():
    capped = record(
        curve={"kind": "capped", "skip_cosine": 0.0, "ffn_cosine": 0.0, "skip_ffn_cosine": 0.0, "raw_cosine": 0.0,
               "ffn_length": 0.5, "limit_length": 0.75, "epsilon": 0.0},
        ceiling=0.5,
    )  # fmt: skip
    assert log_dose_error(capped, 0.9) is None, "the plateau is 0.6"
    assert log_dose_error(capped, 0.5) == 0
    assert log_dose_error(record(ceiling=None), 0.5) is None


def test_the_bootstrap_resamples_whole_clusters_within_strata():
    generator = np.random.default_rng(0)
    strata = ["x"] * 40 + ["y"] * 20
    clusters = [f"c{i // 4}" for i in range(60)]
    values = np.repeat(generator.normal(0, 1, 15), 4) + np.repeat([0.0, 10.0], [40, 20])
    mean, replicates = cluster_means(values[:, None], clusters, strata, seed=1)
    assert mean[0] == pytest.approx(values.mean())
    # Ten clusters of one stratum and five of the other in every replicate: the difference of strata adds no variance.
    slow = []
    for _ in range(4000):
        x = generator.integers(0, 10, 10)
        y = generator.integers(10, 15, 5)
        slow.append(np.mean([values[4 * c : 4 * c + 4].mean() for c in (*x, *y)]))
    assert replicates[:, 0].std() == pytest.approx(np.std(slow), rel=0.1)
    assert replicates[:, 0].mean() == pytest.approx(values.mean(), abs=0.1)


def test_one_cluster_has_no_interval_and_nothing_no_value():
    assert mean_estimate([1.0, 2.0], ["a", "a"], ["m", "m"]).interval is None
    assert mean_estimate([], [], []).value is None
    assert skill_estimate([0.1, 0.2], [0.0, 0.0], ["a", "b"], ["m", "m"]).value is None


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    inside = 0
    for trial in range(60):
        values = generator.normal(1.0, 1.0, 30)
        low, high = mean_estimate(list(values), list(range(30)), ["m"] * 30, seed=trial).interval
        inside += low <= 1.0 <= high
    assert 50 <= inside <= 60


def held_out_of(lineage, measured, predicted, chosen=0.5, **changes):
    """One pair for each measured ceiling, predicted with its lineage left out."""
    return [
        record(
            model=lineage,
            lineage=lineage,
            neuron=f"L1.N{i}",
            ceiling=c,
            left_out=forecast(p, constant=chosen, predictors={"constant": 0.6}),
            **changes,
        )
        for i, (c, p) in enumerate(zip(measured, predicted, strict=True))
    ]


def test_the_constant_to_beat_is_the_best_on_the_pairs_that_are_scored():
    pairs = [*held_out_of("a", [0.80, 0.84], [0.81, 0.83]), *held_out_of("b", [0.70], [0.78])]
    scores = ceiling_scores(pairs, "left_out")
    # Lineages weigh the same: (0.01 + 0.08) / 2 against 0.82's (0.02 + 0.12) / 2 and the chosen 0.5's (0.32 + 0.2) / 2.
    assert scores["mae"]["value"] == pytest.approx(0.045)
    assert scores["constants"]["best"] == "reported c = 0.82"
    assert scores["mae_constant"]["value"] == pytest.approx(0.07)
    assert scores["skill_vs_constant"]["value"] == pytest.approx(1 - 0.045 / 0.07)
    assert scores["skill_vs_chosen_constant"]["value"] == pytest.approx(1 - 0.045 / 0.26)
    assert scores["constants"]["each"]["median dose"]["mae"]["value"] == pytest.approx((0.22 + 0.1) / 2)
    # No c errs less than the weighted median of what was measured.
    assert scores["constants"]["in_hindsight"]["c"] == pytest.approx(0.70)
    assert scores["constants"]["in_hindsight"]["mae"]["value"] == pytest.approx((0.12 + 0.0) / 2)


def test_models_that_no_constant_fits_are_also_left_out():
    pairs = [*held_out_of("a", [0.80, 0.84], [0.81, 0.83]), *held_out_of("far", [0.3, 0.3, 0.9], [0.3, 0.3, 0.9])]
    without = ceiling_scores(pairs, "left_out")["constants"]["without_far_models"]
    assert without["left_out"] == ["far"]
    assert without["mae"]["value"] == pytest.approx(0.01)
    assert without["mae_best"]["value"] == pytest.approx(0.02)


def test_coverage_is_told_by_lineage_and_without_intervals_that_fell_back():
    inside, outside = forecast(0.7, 0.6, 0.8), forecast(0.5, 0.4, 0.6)
    pairs = [
        record(model="m1", lineage="a", neuron="L1.N1", left_out=inside),
        record(model="m2", lineage="b", neuron="L1.N2", left_out=outside),
        record(model="m2", lineage="b", neuron="L1.N3", left_out=inside, ceiling_interval=[0.0, 0.75]),
    ]
    scores = ceiling_scores(pairs, "left_out")
    assert {name: found["value"] for name, found in scores["coverage_by_lineage"].items()} == {"a": 1.0, "b": 0.5}
    assert scores["coverage"]["value"] == pytest.approx(2 / 3)
    assert scores["coverage_without_fallen_intervals"] == {
        **scores["coverage_without_fallen_intervals"],
        "n": 2,
        "value": 0.5,
    }
    assert scores["lineages_scored"] == 2


def test_routed_neurons_stand_apart():
    pairs = [record(neuron="L1.N1"), record(neuron="L1.E2.N1", ceiling=0.5)]
    found = ceiling_scores(pairs, "known")["by_routing"]
    assert found["everywhere"]["value"] == pytest.approx(0.02)
    assert found["routed"]["value"] == pytest.approx(0.22)
