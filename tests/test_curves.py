from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.curves import (
    CappedCurve,
    LayerCurves,
    SaturationCurve,
    capped_coordinate,
    curve_from_json,
    opposite,
)
from controlwindow.geometry import control_coordinate, dose_for, plateau
from reference_geometry import capped_residual, cosine_between

seeds = st.integers(0, 2**32 - 1)
doses = st.floats(-50, 50)
unit = st.floats(-1, 1)


def vectors(seed: int, size: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, m, v and γ of very different sizes; m leans towards v in some."""
    generator = np.random.default_rng(seed)
    x, m, v = (generator.normal(size=size) * 10 ** generator.uniform(-2, 2) for _ in range(3))
    lean = generator.uniform(-1, 1) if seed % 3 == 0 else 0.0
    return x, m + 2 * lean * np.linalg.norm(m) * v / np.linalg.norm(v), v, generator.normal(size=size)


def curve_of(x: np.ndarray, m: np.ndarray, v: np.ndarray, gain: np.ndarray, epsilon: float = 0.0) -> CappedCurve:
    """The curve of one position, from its vectors."""
    root, length = math.sqrt(x.size), np.linalg.norm
    return CappedCurve(
        skip_cosine=cosine_between(x, gain * v),
        ffn_cosine=cosine_between(gain * m, gain * v),
        skip_ffn_cosine=cosine_between(x, gain * m),
        raw_cosine=cosine_between(m, v),
        ffn_length=float(root * length(gain * m) / length(m) / length(x)),
        limit_length=float(root * length(gain * v) / length(v) / length(x)),
        epsilon=float(x.size * epsilon / length(m) ** 2),
    )


@given(seeds, doses)
def test_the_capped_curve_of_a_position_is_the_cosine_of_its_dosed_residual(seed: int, t: float) -> None:
    x, m, v, gain = vectors(seed)
    alpha = t * float(np.linalg.norm(m) / np.linalg.norm(v))
    expected = cosine_between(capped_residual(x, m, v, gain, alpha), gain * v)
    assert curve_of(x, m, v, gain).coordinate(t) == pytest.approx(expected, abs=1e-9)


@given(seeds, doses, st.floats(-8, 2))
def test_the_epsilon_of_the_norm_is_in_the_curve(seed: int, t: float, exponent: float) -> None:
    x, m, v, gain = vectors(seed)
    epsilon = 10.0**exponent
    dosed = m + t * np.linalg.norm(m) / np.linalg.norm(v) * v
    residual = x + gain * dosed / np.sqrt(np.mean(dosed**2) + epsilon)
    assert curve_of(x, m, v, gain, epsilon).coordinate(t) == pytest.approx(cosine_between(residual, gain * v), abs=1e-9)


@given(seeds)
def test_the_plateau_is_where_any_large_dose_goes(seed: int) -> None:
    x, m, v, gain = vectors(seed)
    curve = curve_of(x, m, v, gain)
    assert curve.coordinate(1e9) == pytest.approx(curve.plateau, abs=1e-6)
    limit = math.sqrt(x.size) * gain * v / np.linalg.norm(v)
    assert curve.plateau == pytest.approx(
        plateau(cosine_between(x, limit), float(np.linalg.norm(limit)), float(np.linalg.norm(x))), abs=1e-12
    )
    assert curve.cosine == curve.coordinate(0.0)


@given(seeds, doses)
def test_the_branches_of_a_capped_curve_mirror_each_other(seed: int, t: float) -> None:
    x, m, v, gain = vectors(seed)
    curve = curve_of(x, m, v, gain)
    assert opposite(curve).coordinate(t) == pytest.approx(-curve.coordinate(-t), abs=1e-12)
    assert opposite(curve).coordinate(t) == pytest.approx(curve_of(x, m, -v, gain).coordinate(t), abs=1e-9)
    assert opposite(opposite(curve)) == curve


@given(st.tuples(unit, unit, unit, unit, st.floats(0, 100), st.floats(0, 100)), doses)
def test_numbers_that_no_single_position_has_still_give_a_cosine(values: tuple[float, ...], t: float) -> None:
    # Medians of different positions need not fit together.
    assert -1 <= CappedCurve(*values).coordinate(t) <= 1


@given(seeds, st.floats(-0.9, 20))
def test_the_inverse_gives_back_the_coordinate_and_is_the_first_dose_that_has_it(seed: int, t: float) -> None:
    curve = curve_of(*vectors(seed))
    coordinate = curve.coordinate(t)
    found = curve.dose(coordinate)
    assert curve.coordinate(found) == pytest.approx(coordinate, abs=1e-7)
    if t >= 0:
        assert -1e-6 <= found <= t + 1e-6


def test_the_inverse_of_a_rising_curve_is_the_dose() -> None:
    curve = CappedCurve(-0.1, 0.05, 0.2, 0.02, ffn_length=0.8, limit_length=0.7, epsilon=1e-4)
    for t in (-3.0, -0.4, 0.0, 0.01, 0.5, 4.9, 30.0, 5000.0):
        assert curve.dose(curve.coordinate(t)) == pytest.approx(t, rel=1e-5, abs=1e-9)
    for beyond in (curve.plateau + 1e-3, 0.98, -opposite(curve).plateau - 1e-3):
        with pytest.raises(ValueError, match="plateau"):
            curve.dose(beyond)


def test_a_curve_that_falls_before_it_rises_is_read_at_its_first_crossing() -> None:
    # m points along v, and the gain turns it away from u's part in x: a small dose shrinks what lay along u.
    curve = CappedCurve(0.0, 0.9, -0.9, 0.9, ffn_length=2.0, limit_length=1.0)
    assert curve.coordinate(0.5) < curve.cosine
    dip = curve.coordinate(0.5)
    found = curve.dose(dip)
    assert 0 < found <= 0.5 + 1e-9
    assert curve.coordinate(found) == pytest.approx(dip, abs=1e-9)


def test_the_plain_curve_is_the_saturation_curve() -> None:
    curve = SaturationCurve(0.3)
    assert (curve.cosine, curve.plateau, curve.kind) == (0.3, None, "plain")
    assert curve.coordinate(1.7) == control_coordinate(1.7, 0.3)
    assert curve.dose(0.9) == dose_for(0.9, 0.3)


def test_arrays_of_neurons_and_doses_broadcast() -> None:
    curves = [curve_of(*vectors(seed)) for seed in range(5)]
    table = capped_coordinate(
        np.array([[0.3], [2.0]]),
        **{name: np.array([getattr(c, name) for c in curves]) for name in curves[0].to_json() if name != "kind"},
    )
    assert table.shape == (2, 5)
    for column, curve in enumerate(curves):
        assert table[0, column] == curve.coordinate(0.3)
        assert table[1, column] == curve.coordinate(2.0)


@pytest.mark.parametrize("curves", [[curve_of(*vectors(s)) for s in range(4)], [SaturationCurve(c) for c in (0, 0.4)]])
def test_the_curves_of_a_layer_are_those_of_its_neurons(curves: list[SaturationCurve] | list[CappedCurve]) -> None:
    names = [name for name in curves[0].to_json() if name != "kind"]
    layer = LayerCurves(curves[0].kind, {name: np.array([getattr(c, name) for c in curves]) for name in names})
    for together, each in ((layer, curves), (layer.opposite(), [opposite(c) for c in curves])):
        assert [together.at(i) for i in range(len(each))] == each
        assert together.cosines.tolist() == [c.cosine for c in each]
        assert together.coordinates(1.3).tolist() == [c.coordinate(1.3) for c in each]
        plateaus = together.plateaus
        assert [c.plateau for c in each] == ([None] * len(each) if plateaus is None else plateaus.tolist())


@pytest.mark.parametrize("curve", [SaturationCurve(-0.2), curve_of(*vectors(3)), curve_of(*vectors(4), 1e-3)])
def test_a_curve_survives_json(curve: SaturationCurve | CappedCurve) -> None:
    assert curve_from_json(json.loads(json.dumps(curve.to_json()))) == curve


def test_a_foreign_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of curve 'bent'"):
        curve_from_json({"kind": "bent"})


@given(st.lists(seeds, min_size=1, max_size=4), st.floats(0.05, 0.95))
def test_doses_of_many_neurons_at_once_are_those_of_each(chosen: list[int], way: float) -> None:
    curves = [curve_of(*vectors(seed)) for seed in chosen]
    layer = LayerCurves(
        "capped", {n: np.array([getattr(c, n) for c in curves]) for n in curves[0].to_json() if n != "kind"}
    )
    wanted = np.array([c.cosine + way * (c.plateau - c.cosine) if c.plateau > c.cosine else 1.0 for c in curves])
    found = layer.rising_doses(wanted)
    for curve, coordinate, t in zip(curves, wanted, found, strict=True):
        if coordinate == 1.0:
            assert math.isnan(t)
        else:
            assert curve.coordinate(t) == pytest.approx(coordinate, abs=1e-9)
            assert t > 0
    assert np.isnan(layer.rising_doses(np.full(len(curves), np.nan))).all()
