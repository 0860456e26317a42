from __future__ import annotations

import math

import polars as pl
import pytest
import torch

import tiny_models
from controlwindow import geometry
from controlwindow.errors import NeuronError, UsageError
from controlwindow.instruments import generic_pass
from controlwindow.models import Model, Neuron, load_model
from controlwindow.windows.calibration import shipped_calibration
from controlwindow.windows.prediction import (
    PROBE_DOSES,
    PROBE_LEVEL,
    dose_at_level,
    layer_features,
    predict_ceilings,
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


def test_every_neuron_is_predicted_on_both_branches(model: Model) -> None:
    table = predict_ceilings(model)
    names = [str(neuron) for neuron in model.neurons]
    assert table["neuron"].to_list() == [name for name in names for _ in range(2)]
    assert table["branch"].to_list() == [1, -1] * len(names)
    writing = table.filter(pl.col("neuron") != str(SILENT))
    assert writing["constant"].null_count() == 0
    assert writing["participation_ratio"].null_count() == 0
    assert writing.select(pl.col("budget", "c0", "residual_norm", "write_norm").is_null().any()).row(0) == (False,) * 4
    known = {features.layer for features in layer_features(model) if features.probe_dose is not None}
    predicted = writing.filter(pl.col("layer").is_in(list(known)))
    assert predicted["ceiling_predicted"].null_count() == 0
    for name in ("ceiling_predicted", "ceiling_low", "ceiling_high"):
        assert predicted[name].is_between(-1, 1).all()
    assert (predicted["ceiling_low"] <= predicted["ceiling_predicted"]).all()
    assert (predicted["ceiling_predicted"] <= predicted["ceiling_high"]).all()
    assert not table["in_sample"].any()


def test_a_write_that_vanishes_has_null_predictions(model: Model) -> None:
    row = predict_ceilings(model, [SILENT])
    assert len(row) == 2
    for name in ("budget", "ceiling_predicted", "ceiling_low", "ceiling_high", "t_predicted"):
        assert row[name].null_count() == 2
    for name in shipped_calibration().predictors:
        assert row[name].null_count() == 2
    assert row["c0"].to_list() == [0.0, 0.0]


def test_the_table_equals_prediction_one_by_one(model: Model) -> None:
    generic, features = generic_pass(model), layer_features(model)
    neurons = [Neuron(0, 0), Neuron(1, 4), Neuron(2, 47)]
    table = predict_ceilings(model, neurons)
    for row in table.iter_rows(named=True):
        single = predict_neuron(model, Neuron.parse(row["neuron"]), row["branch"], generic, features)
        assert row["c0"] == pytest.approx(single.cosine, abs=1e-5)
        assert row["budget"] == pytest.approx(single.budget, rel=1e-5)
        assert row["write_norm"] == pytest.approx(single.write_norm, rel=1e-5)
        for name, value in single.values.items():
            assert row[name] == (None if value is None else pytest.approx(value[0], abs=1e-5))
        chosen = single.values[single.default]
        if chosen is not None:
            assert (row["ceiling_predicted"], row["ceiling_low"], row["ceiling_high"]) == pytest.approx(
                chosen, abs=1e-5
            )
            assert geometry.control_coordinate(row["t_predicted"], row["c0"]) == pytest.approx(chosen[0], abs=1e-5)
        assert row["predictor"] == single.default


def test_cosines_of_the_branches_are_opposite(model: Model) -> None:
    table = predict_ceilings(model, ["L2.N3"])
    assert table["c0"][0] == -table["c0"][1]


def test_no_neurons_and_foreign_neurons_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="no neurons"):
        predict_ceilings(model, [])
    with pytest.raises(NeuronError, match=r"L7\.N0"):
        predict_ceilings(model, ["L7.N0"])


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
