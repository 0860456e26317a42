from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

import tiny_models
from controlwindow import geometry
from controlwindow.curves import CappedCurve, curve_from_json
from controlwindow.errors import NeuronError
from controlwindow.instruments import generic_pass
from controlwindow.models import Model, Neuron, load_model
from controlwindow.windows.calibration import Predictor, shipped_calibration
from controlwindow.windows.prediction import (
    PROBE_DOSES,
    PROBE_LEVEL,
    dose_at_level,
    layer_features,
    predict_neuron,
)

SILENT = Neuron(1, 5)


@pytest.fixture(scope="module")
def model() -> Model:
    """A model with one neuron that writes nothing."""
    in_hand = tiny_models.llama_in_hand(seed=4)
    with torch.no_grad():
        in_hand.model.layers[SILENT.layer].mlp.down_proj.weight[:, SILENT.index] = 0
    return load_model(in_hand, tokenizer=tiny_models.tokenizer())


def test_a_prediction_goes_through_the_curve_of_the_neuron(model: Model) -> None:
    generic, features, calibration = generic_pass(model), layer_features(model), shipped_calibration()
    for branch in (1, -1):
        found = predict_neuron(model, Neuron(1, 4), branch, generic, features)
        assert found.curve == generic.curve(model, Neuron(1, 4), branch)
        assert (found.cosine, found.plateau) == (found.curve.cosine, None)
        assert (found.budget, found.budget_kind) == (generic.budget(model, Neuron(1, 4)), "plain")
        assert found.write_norm * found.budget == pytest.approx(found.residual_norm)
        assert found.routed_share is None
        for name, value in found.values.items():
            t = calibration.predictors[name].dose(features[1].values())
            if t is None:
                assert value is None
            else:
                assert value.value == geometry.control_coordinate(t, found.cosine)
                assert value.low < value.value < value.high


def test_a_neuron_that_writes_nothing_is_not_predicted(model: Model) -> None:
    with pytest.raises(NeuronError, match="writes nothing"):
        predict_neuron(model, SILENT, 1, generic_pass(model), layer_features(model))


def test_a_record_is_plain_and_holds_the_curve(model: Model) -> None:
    found = predict_neuron(model, Neuron(2, 3), -1, generic_pass(model), layer_features(model))
    record = json.loads(json.dumps(found.to_record()))
    assert curve_from_json(record["curve"]) == found.curve
    assert (record["neuron"], record["branch"], record["budget_kind"], record["plateau"]) == (
        "L2.N3",
        -1,
        "plain",
        None,
    )
    assert record["cosine"] == found.cosine
    assert record["values"]["constant"] == list(found.values["constant"])


def test_under_a_cap_a_ceiling_at_or_above_the_plateau_is_not_reached() -> None:
    capped = CappedCurve(0.0, 0.0, 0.0, 0.0, ffn_length=0.3, limit_length=0.75)
    predictor = Predictor("constant", None, math.log(0.75), 0.0, (math.log(0.5), math.log(2)), 0.1, None)
    assert capped.plateau == pytest.approx(0.6)
    assert predictor.ceiling({}, capped) == (None, pytest.approx(geometry.control_coordinate(0.375)), None)
    lower = replace(predictor, intercept=math.log(0.5))
    assert lower.ceiling({}, capped) == pytest.approx(
        (geometry.control_coordinate(0.5), geometry.control_coordinate(0.25), None)
    )
    assert replace(predictor, intercept=math.log(5)).ceiling({}, capped) == (None, None, None)
    assert replace(predictor, feature="probe_dose").ceiling({"probe_dose": None}, capped) is None


def test_without_probe_passes_only_the_generic_pass_is_read(model: Model) -> None:
    plain, probed = layer_features(model, probe=False), layer_features(model)
    assert layer_features(model, probe=False) is plain
    for a, b in zip(plain, probed, strict=True):
        assert a == replace(b, probe_dose=None, probe_curve=())


def test_layer_features_are_read_once_and_agree_with_the_generic_pass(model: Model) -> None:
    generic, features = generic_pass(model), layer_features(model)
    assert layer_features(model) is features
    assert [f.layer for f in features] == list(range(model.layers))
    assert tuple(f.residual_norm for f in features) == generic.residual_norm
    assert tuple(f.participation_ratio for f in features) == generic.participation_ratio
    for f in features:
        # Doses above the level say nothing more, so they are not run.
        assert len(f.probe_curve) == len(PROBE_DOSES) or f.probe_curve[-1] > PROBE_LEVEL
        assert all(value <= PROBE_LEVEL for value in f.probe_curve[:-1])
        assert f.probe_dose == dose_at_level(PROBE_DOSES, f.probe_curve, PROBE_LEVEL)
        assert f.values() == {"participation_ratio": f.participation_ratio, "probe_dose": f.probe_dose}


def test_a_level_is_read_between_doses_in_logarithms() -> None:
    # KL = t³ is a line in log–log, so the reading is exact.
    doses = [0.5, 1.0, 2.0, 4.0]
    curve = [t**3 for t in doses]
    for level in (0.2, 1.0, 2.0, 27.0, 64.0):
        assert dose_at_level(doses, curve, level) == pytest.approx(level ** (1 / 3))


def test_a_level_outside_the_curve() -> None:
    assert dose_at_level([1.0, 2.0], [0.1, 0.5], 2.0) is None
    assert dose_at_level([1.0, 2.0], [3.0, 5.0], 2.0) == 1.0
    assert dose_at_level([1.0, 2.0], [0.0, 5.0], 2.0) == 2.0
    assert dose_at_level([], [], 2.0) is None


def test_the_first_crossing_of_a_curve_that_falls_again_counts() -> None:
    found = dose_at_level([1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 1.0, 4.0], 2.0)
    assert found == pytest.approx(math.sqrt(2))
