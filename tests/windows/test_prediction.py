from __future__ import annotations

import json

import pytest
import torch
from calibration_data import observations

import tiny_models
from controlwindow.curves import curve_from_json
from controlwindow.errors import NeuronError
from controlwindow.instruments import generic_pass
from controlwindow.models import Model, Neuron, load_model
from controlwindow.windows.calibrating import fit_predictors
from controlwindow.windows.calibration import calibration_from_json, shipped_calibration
from controlwindow.windows.features import subject_from_json, subjects_of
from controlwindow.windows.layer_features import layer_features
from controlwindow.windows.prediction import predict_neurons

SILENT = Neuron(1, 5)
PAIRS = [(Neuron(1, 4), 1), (Neuron(1, 4), -1), (Neuron(2, 3), -1)]


@pytest.fixture(scope="module")
def model() -> Model:
    """A model with one neuron that writes nothing."""
    in_hand = tiny_models.llama_in_hand(seed=4)
    with torch.no_grad():
        in_hand.model.layers[SILENT.layer].mlp.down_proj.weight[:, SILENT.index] = 0
    return load_model(in_hand, tokenizer=tiny_models.tokenizer())


def test_predictions_are_those_of_the_calibration(model: Model) -> None:
    generic, layers, calibration = generic_pass(model), layer_features(model), shipped_calibration()
    subjects = subjects_of(model, PAIRS, generic, layers=layers)
    found = predict_neurons(model, PAIRS, generic, layers)
    for pair, subject, prediction in zip(PAIRS, subjects, found, strict=True):
        assert (prediction.neuron, prediction.branch) == pair
        assert prediction.subject == subject
        assert prediction.curve == generic.curve(model, *pair)
        assert (prediction.cosine, prediction.plateau) == (prediction.curve.cosine, None)
        assert (prediction.budget, prediction.budget_kind) == (generic.budget(model, pair[0]), "plain")
        assert prediction.write_norm * prediction.budget == pytest.approx(prediction.residual_norm)
        assert prediction.routed_share is None
        assert not prediction.in_sample
        assert prediction.default == calibration.default
        for name, value in prediction.values.items():
            assert value == calibration.predict(subject, predictor=name)


def test_cheaper_tiers_read_less(model: Model) -> None:
    generic = generic_pass(model)
    plain = predict_neurons(model, PAIRS, generic, layer_features(model, probe=False), tier="0")
    assert {p.values["combined_1"] for p in plain} == {p.values["probe_curve"] for p in plain} == {None}
    assert all(p.values[p.default] is not None for p in plain)
    probed = predict_neurons(model, PAIRS, generic, layer_features(model), tier="1/2")
    assert {p.values["combined_1"] for p in probed} == {None}


def test_a_model_that_was_fitted_is_predicted_from_its_own_neurons(model: Model) -> None:
    # The calibration of a made-up model, under the fingerprint of this one.
    calibration = fit_predictors(observations("own", lineages=2), choose=False)
    text = calibration.to_json().replace('"print 0"', f'"{model.fingerprint}"')
    known = calibration_from_json(text)
    found = predict_neurons(model, PAIRS[:1], generic_pass(model), layer_features(model), known)[0]
    assert found.in_sample
    assert found.default == known.default_for("1", known=True)
    name = found.default
    strange = calibration.predict(found.subject, predictor=name)
    assert found.values[name] == known.predict(found.subject, fingerprint=model.fingerprint, predictor=name)
    assert found.values[name] != strange


def test_a_neuron_that_writes_nothing_is_not_predicted(model: Model) -> None:
    with pytest.raises(NeuronError, match="writes nothing"):
        predict_neurons(model, [(SILENT, 1)], generic_pass(model), layer_features(model))


def test_a_record_is_plain_and_holds_curve_and_subject(model: Model) -> None:
    found = predict_neurons(model, PAIRS[1:2], generic_pass(model), layer_features(model))[0]
    record = json.loads(json.dumps(found.to_record()))
    assert curve_from_json(record["curve"]) == found.curve
    assert subject_from_json(record["subject"]) == found.subject
    assert (record["neuron"], record["branch"], record["budget_kind"], record["plateau"]) == (
        "L1.N4",
        -1,
        "plain",
        None,
    )
    assert record["cosine"] == found.cosine
    assert record["values"]["constant"] == list(found.values["constant"])
