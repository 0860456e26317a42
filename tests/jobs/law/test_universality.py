"""Constants: data made with one coordinate constant must show that coordinate, and no other, without error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from controlwindow.curves import SaturationCurve
from controlwindow.jobs.law.universality import explained, universality
from law_records import plain_dose, record


def made(kind: str, count: int = 24, **changes):
    """Pairs whose ceiling is one α, one t or one c, with c0 and budgets that differ."""
    generator = np.random.default_rng(7)
    found = []
    for i in range(count):
        c0, budget = float(generator.uniform(-0.6, 0.5)), float(generator.uniform(1, 5))
        t = {"alpha": 3.0 / budget, "t": 1.1, "c": plain_dose(0.7, c0)}[kind]
        ceiling = SaturationCurve(c0).coordinate(t)
        found.append(record(neuron=f"L1.N{i}", c0=c0, budget=budget, ceiling=ceiling, **changes))
    return found


@pytest.mark.parametrize("kind", ["alpha", "t", "c"])
def test_the_constant_that_the_data_have_is_found(kind):
    scores = universality(made(kind))["ceiling"]["natural"]["within_models"]
    for name in ("alpha", "t", "c"):
        if name == kind:
            assert scores[name]["value"] == pytest.approx(0, abs=1e-9)
        else:
            assert scores[name]["value"] > 0.05


def test_c_and_t_are_compared_where_they_differ():
    found = universality(made("c"))["ceiling"]
    informative = found["natural, |c0| > 0.2"]
    assert 0 < informative["n"] < found["natural"]["n"]
    assert informative["within_models"]["t_minus_c"]["interval"][0] > 0


def test_a_constant_is_never_taken_from_the_neuron_that_it_predicts():
    pairs = made("t", count=4)
    pairs[0]["ceiling"] = SaturationCurve(pairs[0]["c0"]).coordinate(2.2)
    scores = universality(pairs)["ceiling"]["natural"]["within_models"]
    # Three neurons give exactly 1.1; the odd one out is off by log 2, the others see it among three.
    assert scores["t"]["value"] == pytest.approx(math.log(2) / 4)


def test_across_lineages_the_constant_comes_from_other_lineages():
    pairs = made("t", 6) + [
        {**r, "model": "m2", "lineage": "b", "ceiling": SaturationCurve(r["c0"]).coordinate(2.2)} for r in made("t", 6)
    ]
    scores = universality(pairs)["ceiling"]["natural"]
    assert scores["within_models"]["t"]["value"] == pytest.approx(0, abs=1e-9)
    assert scores["across_lineages"]["t"]["value"] == pytest.approx(math.log(2))
    assert scores["across_lineages"]["t"]["clusters"] == 2


def test_planted_neurons_stand_apart():
    found = universality([*made("t"), *made("c", 5, source="planted")])["ceiling"]
    assert found["natural"]["n"] == 24
    assert found["planted"]["n"] == 5


def test_variance_is_given_to_the_factor_that_makes_it():
    pairs = []
    for model, t in (("m1", 0.8), ("m2", 1.6)):
        for i in range(12):
            factor = 1.0 if i % 2 else 1.05
            ceiling = SaturationCurve(0.0).coordinate(t * factor)
            behavior = "mode" if i % 2 else "other"
            pairs.append(record(model=model, lineage=model, neuron=f"L1.N{i}", ceiling=ceiling, behavior=behavior))
    found = explained(pairs, "ceiling")
    assert found["all"] == pytest.approx(1.0)
    assert found["alone"]["model"] > 0.98
    assert found["alone"]["behavior"] == pytest.approx(1 - found["alone"]["model"])
    assert found["lost_without"]["behavior"] == pytest.approx(found["alone"]["behavior"])
    # The layer of a model tells the model too, so leaving the model out loses nothing.
    assert found["lost_without"]["model"] == pytest.approx(0, abs=1e-9)
    assert "c0" not in found["alone"], "it does not vary"
