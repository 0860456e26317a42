"""First-order scores against control: areas and τ-b against counted pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from controlwindow.jobs.law.control import control_scores, weighted_area
from controlwindow.jobs.law.inclusion import inclusion_weights
from law_records import record


def neurons(source: str = "random", count: int = 14):
    generator = np.random.default_rng(11)
    found = []
    for i in range(count):
        share, height = float(generator.random()), float(np.round(generator.random(), 1))
        scores = {"gradient": [share - 0.5, share], "readout_cosine": [-share / 2, share]}
        for branch in (1, -1):
            tall = height if branch == 1 else 0.0
            found.append(
                record(
                    neuron=f"L1.N{i}", branch=branch, source=source, height=tall, open=tall > 0.5, first_order=scores
                )
            )
    return found


def test_areas_and_taus_are_counted_over_neurons_on_their_better_branch():
    pairs = neurons()
    found = control_scores(pairs, {})["natural"]
    better = [r for r in pairs if r["branch"] == 1]
    assert found["neurons"] == len(better)
    shares = [r["first_order"]["gradient"][1] for r in better]
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, r in zip(shares, better, strict=True)
        for b, s in zip(shares, better, strict=True)
        if r["open"] and not s["open"]
    ]
    assert found["screens"]["gradient"]["auc"] == pytest.approx(np.mean(wins))
    heights = [r["height"] for r in better]
    concordant = ties_x = ties_y = total = 0
    for i, j in itertools.combinations(range(len(better)), 2):
        x, y = np.sign(shares[i] - shares[j]), np.sign(heights[i] - heights[j])
        concordant += x * y
        ties_x += x == 0
        ties_y += y == 0
        total += 1
    tau = concordant / np.sqrt((total - ties_x) * (total - ties_y))
    assert found["screens"]["gradient"]["tau_b"] == pytest.approx(tau)


def test_planted_neurons_and_the_readout_axis_stand_apart():
    found = control_scores([*neurons(), *neurons("planted", 4)], {})
    assert (found["natural"]["neurons"], found["planted"]["neurons"]) == (14, 4)
    assert "readout_cosine" not in found["natural"]["screens"]
    cosines = found["natural"]["readout_cosine"]
    assert cosines["open"]["n"] + cosines["closed"]["n"] == 14
    assert 0 <= cosines["open"]["median"] <= 0.5


def test_without_an_open_neuron_there_is_no_area():
    closed = [{**r, "open": False} for r in neurons()]
    assert control_scores(closed, {})["natural"]["screens"]["gradient"]["auc"] is None


def test_intervals_resample_lineages():
    """Neurons of one lineage are one draw: twins of it in other lineages change nothing, and one alone has none."""
    one = neurons()
    assert control_scores(one, {})["random"]["screens"]["gradient"]["auc_interval"] is None
    two = [*one, *({**r, "model": "m2", "lineage": "b"} for r in one)]
    found = control_scores(two, {})["random"]["screens"]["gradient"]
    assert found["lineages"] == 2
    assert found["auc_interval"] == pytest.approx([found["auc"]] * 2)


def test_random_neurons_stand_apart_from_those_that_were_chosen():
    chosen = [
        record(neuron=f"L2.N{i}", source="screened", open=True, height=1.0, first_order={"gradient": [1.0, 0.99]})
        for i in range(5)
    ]
    found = control_scores([*neurons(), *chosen], {})
    assert (found["random"]["neurons"], found["natural"]["neurons"]) == (14, 19)
    assert found["natural"]["screens"]["gradient"]["auc"] > found["random"]["screens"]["gradient"]["auc"]
    top = found["natural"]["gradient_by_height"][-1]
    assert top["height"] == [0.75, 1.0]
    assert top["n"] == sum(r["height"] >= 0.75 for r in neurons()) + 5
    assert found["random"]["gradient_by_height"][-1]["in_top_tenth"] < top["in_top_tenth"]


def test_a_weighted_area_counts_a_neuron_as_often_as_its_weight_says():
    generator = np.random.default_rng(2)
    scores, labels = generator.integers(0, 5, 30).astype(float), generator.random(30) < 0.4
    weights = generator.integers(1, 4, 30).astype(float)
    counts = weights.astype(int)
    repeated = [(s, lab) for s, lab, w in zip(scores, labels, counts, strict=True) for _ in range(w)]
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a, first in repeated for b, second in repeated if first > second
    ]
    assert weighted_area(scores, labels, weights) == pytest.approx(np.mean(wins))


def test_a_neuron_stands_for_those_of_its_stratum_that_were_not_taken():
    """A model of 100: one at the screen's top, four that a census opened (two drawn), 95 others (five drawn)."""
    sources = ["screened"] + ["natural"] * 2 + ["random"] * 5
    units = [{"model": "m1", "behavior": "mode", "source": source} for source in sources]
    population = {"m1": {"population": {"neurons": 100, "census_open": {"mode": 4}}}}
    weights = [unit["weight"] for unit in inclusion_weights(units, population)]
    assert weights == pytest.approx([1 / 100, *[2 / 100] * 2, *[19 / 100] * 5])
    assert inclusion_weights(units, {}) is None
    weighted = control_scores(
        [
            record(neuron="L0.N0", source="screened", open=True, first_order={"gradient": [1.0, 0.9]}),
            record(neuron="L0.N1", source="random", open=True, first_order={"gradient": [1.0, 0.2]}),
            record(neuron="L0.N2", source="random", open=False, first_order={"gradient": [1.0, 0.5]}),
        ],
        {"m1": {"population": {"neurons": 11, "census_open": {}}}},
    )["natural, weighted"]
    # The screened one wins and counts for one, the random open one loses and counts for five.
    assert weighted["screens"]["gradient"]["auc"] == pytest.approx(1 / 6)
