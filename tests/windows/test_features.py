from __future__ import annotations

import json
import math

import pytest
import torch

import budget_models
import plain_generation
import tiny_models
from controlwindow import geometry
from controlwindow.curves import CappedCurve, SaturationCurve
from controlwindow.errors import NeuronError, UsageError
from controlwindow.instruments import generic_pass
from controlwindow.instruments.dosing import CAPPED_DOSE
from controlwindow.instruments.operations import Add
from controlwindow.instruments.probes import propagation
from controlwindow.models import Model, Neuron
from controlwindow.windows.calibration import tier_of
from controlwindow.windows.features import (
    DOSES,
    TEXTS,
    curve_limit,
    equal_dose,
    own_dose,
    subject_from_json,
    subjects_of,
)
from controlwindow.windows.layer_features import layer_features
from controlwindow.windows.predictors import FEATURES

PAIRS = [(Neuron(2, 3), 1), (Neuron(0, 9), -1), (Neuron(2, 3), -1)]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def dosed_directly(model: Model, neuron: Neuron, branch: int, t: float) -> tuple[float, float]:
    """Mean KL and surprise over the first generic answers, each alone under an independently written hook."""
    generic = generic_pass(model)
    divergence, surprise = [], []
    operation = Add(neuron, branch * t * generic.budget(model, neuron))
    for ids, tokens in list(zip(generic.prompt_ids, generic.token_ids, strict=True))[:TEXTS]:
        rows = slice(len(ids) - 1, len(ids) + len(tokens) - 1)
        plain = tiny_models.forward(model, [*ids, *tokens])[rows].double().log_softmax(-1)
        with plain_generation.edited(model, (operation,), {}):
            dosed = tiny_models.forward(model, [*ids, *tokens])[rows].double().log_softmax(-1)
        divergence += (plain.exp() * (plain - dosed)).sum(-1).tolist()
        surprise += [float(p.max() - p[int(d.argmax())]) for p, d in zip(plain, dosed, strict=True)]
    return sum(divergence) / len(divergence), sum(surprise) / len(surprise)


def test_dosed_features_agree_with_one_pass_at_a_time(model: Model) -> None:
    generic = generic_pass(model)
    for pair, found in zip(PAIRS, subjects_of(model, PAIRS), strict=True):
        assert (found.neuron, found.branch, found.layer) == (str(pair[0]), pair[1], pair[0].layer)
        assert found.curve == generic.curve(model, *pair)
        names = [("own_divergence", "own_surprise"), ("own_divergence_1", "own_surprise_1")]
        for t, (divergence, surprise) in zip(DOSES, names, strict=True):
            expected = dosed_directly(model, *pair, t)
            assert found.features[divergence] == pytest.approx(expected[0], rel=1e-3)
            assert found.features[surprise] == pytest.approx(expected[1], rel=1e-2, abs=1e-3)
        operation = Add(pair[0], pair[1] * DOSES[-1] * generic.budget(model, pair[0]))
        moved = propagation(model, pair[0], (operation,), generic.prompt_ids[:TEXTS], generic.token_ids[:TEXTS])
        assert found.propagation == pytest.approx(moved, rel=1e-3, abs=1e-6)


def test_tiers_add_to_each_other_and_branches_mirror(model: Model) -> None:
    tiers = {tier: subjects_of(model, PAIRS, tier=tier) for tier in ("0", "1/2", "1")}
    for zero, half, one in zip(*tiers.values(), strict=True):
        assert [tier_of(s) for s in (zero, half, one)] == ["0", "1/2", "1"]
        assert set(zero.features) < set(half.features) < set(one.features) == set(FEATURES)
        assert {name: one.features[name] for name in zero.features} == zero.features
        layer = layer_features(model)[one.layer].values()
        assert {name: half.features[name] for name in layer} == layer
    plus, _, minus = tiers["0"]
    for name in ("cosine", "mean_cosine"):
        assert plus.features[name] == -minus.features[name]
    assert plus.features["readout_spread"] == minus.features["readout_spread"]
    assert plus.features["cosine"] == pytest.approx(plus.curve.cosine, abs=1e-6)
    assert layer_features(model, probe=False)[0].values().keys() < layer_features(model)[0].values().keys()


def test_a_subject_survives_its_record(model: Model) -> None:
    for found in subjects_of(model, PAIRS[:1]):
        assert subject_from_json(json.loads(json.dumps(found.to_json()))) == found


def test_under_a_cap_doses_give_equal_coordinates_or_the_largest_one() -> None:
    wide = CappedCurve(0.05, 0.1, 0.0, 0.0, ffn_length=0.3, limit_length=1.5)
    dose, plain = equal_dose(wide, 0.5)
    assert plain == 0.5
    assert wide.coordinate(dose) == pytest.approx(geometry.control_coordinate(0.5, wide.cosine))
    narrow = CappedCurve(0.0, 0.0, 0.0, 0.0, ffn_length=0.3, limit_length=0.3)
    dose, plain = equal_dose(narrow, 0.5)
    assert dose == CAPPED_DOSE
    assert geometry.control_coordinate(plain, narrow.cosine) == pytest.approx(narrow.coordinate(CAPPED_DOSE))
    assert curve_limit(narrow) < narrow.plateau
    assert equal_dose(SaturationCurve(0.3), 0.5) == (0.5, 0.5)


def test_a_capped_model_has_every_feature() -> None:
    model = budget_models.CAPPED["gemma2"]()
    found = subjects_of(model, [(Neuron(1, 4), 1)])[0]
    assert found.limit < found.curve.plateau
    assert all(value is None or math.isfinite(value) for value in found.features.values())
    assert found.features["own_divergence"] > 0


def test_an_own_dose_follows_the_power_law_through_two_points() -> None:
    responses = [0.3 * 0.5**1.7, 0.3]
    for level in (0.1, 0.3, 2.0):
        assert own_dose([0.5, 1.0], responses, level) == pytest.approx((level / 0.3) ** (1 / 1.7))
    assert own_dose([0.5, 1.0], [0.4, 0.4], 1.0) is None
    assert own_dose([0.5, 1.0], [0.0, 0.4], 1.0) is None
    # Two capped doses give one coordinate, from which a square law goes on.
    assert own_dose([0.4, 0.4], [0.25, 0.25], 1.0) == pytest.approx(0.8)


def test_foreign_neurons_and_unknown_tiers_are_refused(model: Model) -> None:
    with pytest.raises(NeuronError, match=r"L7\.N0"):
        subjects_of(model, [(Neuron(7, 0), 1)], tier="0")
    with pytest.raises(UsageError, match="unknown tier"):
        subjects_of(model, PAIRS, tier="2")
    assert torch.is_grad_enabled()
