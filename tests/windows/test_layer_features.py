from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

import tiny_models
from controlwindow.instruments import generic_pass
from controlwindow.models import Model
from controlwindow.windows import layer_features as reading
from controlwindow.windows.layer_features import (
    PROBE_DOSES,
    PROBE_LEVEL,
    LayerFeatures,
    dose_at_level,
    features_from_record,
    interpolation_error,
    layer_features,
    spread_layers,
)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def test_features_survive_their_record(model: Model) -> None:
    for found in layer_features(model):
        assert features_from_record(json.loads(json.dumps({**asdict(found), "other": 1}))) == found


def test_without_probe_passes_only_the_generic_pass_is_read(model: Model) -> None:
    plain, probed = layer_features(model, probe=False), layer_features(model)
    assert layer_features(model, probe=False) == plain
    for a, b in zip(plain, probed, strict=True):
        assert a == replace(b, probe_curve=(), probe_surprise=())
        assert a.probe_dose is None


def test_layer_features_are_read_once_and_agree_with_the_generic_pass(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    generic, features = generic_pass(model), layer_features(model)
    with monkeypatch.context() as patched:
        patched.setattr(reading, "response_curve", None)
        assert layer_features(model) == features
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


def deep() -> list[LayerFeatures]:
    """Six layers of a deeper model, of which three were probed."""
    curves = {0: (0.5, 2.0), 2: (0.25, 1.0, 4.0), 5: (0.125, 0.5, 2.0, 8.0)}
    empty: tuple[float, ...] = ()
    return [
        LayerFeatures(n, n / 5, 1.0, 1.0, 2.0, 0.1, 1.0, 1.0, curves.get(n, empty), curves.get(n, empty))
        for n in range(6)
    ]


def test_of_a_deep_model_some_layers_and_those_asked_for_are_probed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [layer.probe_doses for layer in layer_features(model)]
    monkeypatch.setattr(reading, "_SHALLOW", 1)
    monkeypatch.setattr(reading, "_SPREAD", 2)
    found = layer_features(model)
    assert [bool(layer.probe_curve) for layer in found] == [True] + [False] * (model.layers - 2) + [True]
    assert found[0].probe_dose == whole[0].probe_dose
    middle = found[1].values()["probe_dose_1"]
    ends = [found[0].probe_doses.probe_dose_1, found[-1].probe_doses.probe_dose_1]
    assert middle == pytest.approx(math.sqrt(ends[0] * ends[1]))
    asked = layer_features(model, wanted=[1])
    assert asked[1].probe_dose == whole[1].probe_dose
    assert features_from_record(json.loads(json.dumps(asdict(found[1])))) == found[1]


def test_how_well_other_layers_stand_for_one() -> None:
    features = deep()
    doses = [layer.probe_doses.probe_dose_1 for layer in features if layer.probe_curve]
    # The middle one alone lies between others, at two fifths of the way.
    expected = abs(0.6 * math.log(doses[0]) + 0.4 * math.log(doses[2]) - math.log(doses[1]))
    assert interpolation_error(features) == pytest.approx(expected)
    assert interpolation_error(features[:2]) is None


def test_spread_layers_hold_the_first_and_the_last() -> None:
    assert spread_layers(12) == list(range(12))
    assert spread_layers(24) == [0, 5, 9, 14, 18, 23]
