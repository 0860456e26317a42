from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

import tiny_models
from controlwindow.instruments import generic_pass
from controlwindow.models import Model
from controlwindow.windows.layer_features import (
    PROBE_DOSES,
    PROBE_LEVEL,
    dose_at_level,
    features_from_record,
    layer_features,
)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def test_features_survive_their_record(model: Model) -> None:
    for found in layer_features(model):
        assert features_from_record(json.loads(json.dumps({**asdict(found), "other": 1}))) == found


def test_without_probe_passes_only_the_generic_pass_is_read(model: Model) -> None:
    plain, probed = layer_features(model, probe=False), layer_features(model)
    assert layer_features(model, probe=False) is plain
    for a, b in zip(plain, probed, strict=True):
        assert a == replace(b, probe_curve=(), probe_surprise=())
        assert a.probe_dose is None


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
        assert len(f.probe_surprise) == len(f.probe_curve)
        values = f.values()
        assert values["probe_dose"] == f.probe_dose
        assert values["participation_ratio"] == f.participation_ratio
        assert values["depth"] == f.layer / (model.layers - 1)
        assert f.norm_growth * f.residual_norm == pytest.approx(generic.residual_norm[-1])
        crossings = [values[name] for name in ("probe_dose_half", "probe_dose_1", "probe_dose")]
        assert crossings == sorted(crossings)


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


def test_probe_passes_that_were_cut_off_are_gone_on_with_layer_by_layer() -> None:
    whole, again = layer_features(tiny_models.llama(seed=4)), tiny_models.llama(seed=4)
    kept: dict[int, list[list[float]]] = {}
    passed: list[int] = []

    def remember(layer, compute):
        if layer not in kept:
            if len(passed) == 2:
                raise KeyboardInterrupt
            passed.append(layer)
            kept[layer] = json.loads(json.dumps(compute()))
        return kept[layer]

    with pytest.raises(KeyboardInterrupt):
        layer_features(again, remember=remember)
    assert sorted(kept) == [0, 1]
    passed.clear()
    assert layer_features(again, remember=remember) == whole
    assert passed == list(range(2, again.layers)), "no layer is passed twice"
