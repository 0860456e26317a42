from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
import torch

import budget_models
import tiny_models
from controlwindow import geometry
from controlwindow.errors import NeuronError, UsageError
from controlwindow.instruments import generic_pass
from controlwindow.models import Model, Neuron, load_model
from controlwindow.windows import atlas
from controlwindow.windows.atlas import predict_ceilings
from controlwindow.windows.calibration import Calibration, shipped_calibration
from controlwindow.windows.features import curve_limit
from controlwindow.windows.layer_features import layer_features
from controlwindow.windows.prediction import predict_neurons

SILENT = Neuron(1, 5)


@pytest.fixture(scope="module")
def model() -> Model:
    """A model with one neuron that writes nothing."""
    in_hand = tiny_models.llama_in_hand(seed=4)
    with torch.no_grad():
        in_hand.model.layers[SILENT.layer].mlp.down_proj.weight[:, SILENT.index] = 0
    return load_model(in_hand, tokenizer=tiny_models.tokenizer())


@pytest.fixture(scope="module", params=["llama", *budget_models.EVERY])
def every(request: pytest.FixtureRequest) -> Model:
    return tiny_models.llama() if request.param == "llama" else budget_models.EVERY[request.param]()


@pytest.mark.parametrize("probe", [False, True])
def test_the_table_equals_prediction_one_by_one(every: Model, probe: bool) -> None:
    generic, layers = generic_pass(every), layer_features(every, probe=probe)
    calibration = shipped_calibration()
    tier = "1/2" if probe else "0"
    chosen = calibration.default_for(tier)
    table = predict_ceilings(every, probe=probe)
    assert table["neuron"].to_list() == [str(n) for n in every.neurons for _ in range(2)]
    assert table["branch"].to_list() == [1, -1] * len(every.neurons)
    for row in table.gather_every(11).iter_rows(named=True):
        neuron = Neuron.parse(row["neuron"])
        assert (row["layer"], row["expert"], row["index"]) == (neuron.layer, neuron.expert, neuron.index)
        assert (row["predictor"], row["tier"]) == (chosen, tier)
        try:
            single = predict_neurons(every, [(neuron, row["branch"])], generic, layers, tier=tier)[0]
        except NeuronError:
            assert row["budget"] is None
            assert row["reachable"] is None
            assert row["ceiling_predicted"] is None
            continue
        assert row["c0"] == pytest.approx(single.cosine, abs=1e-5)
        assert row["budget"] == pytest.approx(single.budget, rel=1e-4)
        assert row["write_norm"] == pytest.approx(single.write_norm, rel=1e-5)
        assert row["residual_norm"] == single.residual_norm
        assert row["budget_kind"] == single.budget_kind
        assert row["routed_share"] == single.routed_share
        assert row["plateau"] == (None if single.plateau is None else pytest.approx(single.plateau, abs=1e-5))
        for name, value in single.values.items():
            assert row[name] == (None if value is None or value.value is None else pytest.approx(value.value, abs=1e-4))
        predicted = single.values[chosen]
        assert row["reachable"] == (None if predicted is None else predicted.value is not None)
        columns = ("ceiling_predicted", "ceiling_low", "ceiling_high", "probability_not_reached")
        for name, value in zip(columns, predicted or (None,) * 4, strict=True):
            assert row[name] == (None if value is None else pytest.approx(value, abs=1e-4))
        if row["ceiling_predicted"] is None:
            assert row["t_predicted"] is None
        else:
            assert single.curve.coordinate(row["t_predicted"]) == pytest.approx(row["ceiling_predicted"], abs=1e-4)


def calibration_at(dose: float) -> Calibration:
    """Every predictor gives one dose."""
    shipped = shipped_calibration()
    fixed = {"intercept": math.log(dose), "scale": "t", "anchor": None, "features": (), "coefficients": ()}
    predictors = {name: replace(p, **fixed, centres=(), scales=(), models={}) for name, p in shipped.predictors.items()}
    return replace(shipped, predictors=predictors)


@pytest.mark.parametrize(("name", "dose"), [("gemma2", 0.35), ("olmo2", 0.7)])
def test_a_capped_table_tells_what_no_dose_reaches_from_what_is_not_predicted(
    name: str, dose: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The dose lies where the plateaus of these random models lie, so that both sides are met.
    model, early = budget_models.CAPPED[name](), calibration_at(dose)
    monkeypatch.setattr(atlas, "shipped_calibration", lambda: early)
    generic = generic_pass(model)
    table = predict_ceilings(model)
    assert set(table["budget_kind"]) == {"capped"}
    assert table["plateau"].null_count() == 0
    assert table["reachable"].null_count() == 0
    assert 10 < table["reachable"].sum() < len(table) - 10
    for row in table.iter_rows(named=True):
        neuron = Neuron.parse(row["neuron"])
        curve = generic.curve(model, neuron, row["branch"])
        ceiling = geometry.control_coordinate(dose, curve.cosine)
        if row["reachable"]:
            assert row["ceiling_predicted"] == pytest.approx(ceiling, abs=1e-5)
            assert row["ceiling_predicted"] < row["plateau"]
            assert curve.coordinate(row["t_predicted"]) == pytest.approx(ceiling, abs=1e-5)
            assert row["t_predicted"] > 0
            assert row["probability_not_reached"] < 1
        else:
            assert (row["ceiling_predicted"], row["t_predicted"]) == (None, None)
            assert ceiling > curve_limit(curve) - 1e-5
            assert row["probability_not_reached"] > 0


def test_a_write_that_vanishes_has_null_predictions(model: Model) -> None:
    row = predict_ceilings(model, [SILENT])
    assert len(row) == 2
    for name in ("budget", "ceiling_predicted", "ceiling_low", "ceiling_high", "t_predicted", "reachable", "plateau"):
        assert row[name].null_count() == 2
    for name in shipped_calibration().predictors:
        assert row[name].null_count() == 2
    assert row["c0"].to_list() == [0.0, 0.0]


def test_without_probe_passes_no_probed_predictor_counts(model: Model) -> None:
    calibration = shipped_calibration()
    chosen = calibration.predictors[calibration.default_for("0")]
    assert chosen.tier == "0"
    cheap = [p for p in calibration.predictors.values() if p.tier == "0"]
    assert chosen.error_left_out == min(p.error_left_out for p in cheap)
    table = predict_ceilings(model)
    dear = [name for name, p in calibration.predictors.items() if p.tier != "0"]
    assert dear
    for name in dear:
        assert table[name].null_count() == len(table)
    assert not any(isinstance(key, tuple) and key[-1] == 0 for key in model.cache if "layer_features" in key)


def test_another_generic_text_gives_other_budgets(model: Model) -> None:
    other = generic_pass(model, tiny_models.PROMPTS, 5)
    table, own = predict_ceilings(model, generic=other), predict_ceilings(model)
    assert table["residual_norm"].to_list() != own["residual_norm"].to_list()
    assert table["budget"][0] == pytest.approx(other.budget(model, table["neuron"][0]), rel=1e-4)


def test_named_neurons_keep_their_order_within_a_layer(model: Model) -> None:
    table = predict_ceilings(model, ["L2.N3", "L0.N9", "L2.N1"])
    assert table["neuron"].to_list() == ["L0.N9", "L0.N9", "L2.N3", "L2.N3", "L2.N1", "L2.N1"]
    whole = predict_ceilings(model)
    for row in table.iter_rows(named=True):
        found = whole.filter((pl.col("neuron") == row["neuron"]) & (pl.col("branch") == row["branch"])).row(
            0, named=True
        )
        for name, value in row.items():
            assert found[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def test_branches_have_opposite_cosines_and_their_own_ceilings(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "shipped_calibration", lambda: calibration_at(0.8))
    table = predict_ceilings(model, ["L2.N3"])
    assert table["c0"][0] == -table["c0"][1]
    for row in table.iter_rows(named=True):
        assert row["t_predicted"] == pytest.approx(0.8)
        assert row["ceiling_predicted"] == pytest.approx(geometry.control_coordinate(0.8, row["c0"]))


def test_progress_counts_layers(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    predict_ceilings(model, progress=lambda *pair: seen.append(pair))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_neurons_and_foreign_neurons_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="no neurons"):
        predict_ceilings(model, [])
    with pytest.raises(NeuronError, match=r"L7\.N0"):
        predict_ceilings(model, ["L7.N0"])
