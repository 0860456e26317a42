from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controlwindow import geometry
from controlwindow.geometry import (
    budget,
    control_coordinate,
    dose_for,
    participation_ratio,
    plateau,
)
from reference_geometry import capped_residual, cosine_between

cosines = st.floats(-0.999, 0.999)
any_cosine = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 1.0, 1 - 1e-12, -1 + 1e-12, -1 + 1e-9, 1 - 1e-9, 0.0]))
doses = st.floats(-50, 50)
seeds = st.integers(0, 2**32 - 1)


def vectors(seed: int, count: int, size: int = 16) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=size) * 10 ** generator.uniform(-3, 3) for _ in range(count)]


@given(seeds, doses)
def test_curve_is_the_cosine_of_the_dosed_vector(seed: int, t: float) -> None:
    r, v = vectors(seed, 2)
    alpha = t * np.linalg.norm(r) / np.linalg.norm(v)
    dosed = r + alpha * v
    c0 = float(r @ v / np.linalg.norm(r) / np.linalg.norm(v))
    expected = float(dosed @ v / np.linalg.norm(dosed) / np.linalg.norm(v))
    assert control_coordinate(t, c0) == pytest.approx(expected, abs=1e-9)
    assert alpha == pytest.approx(t * budget(float(np.linalg.norm(r)), float(np.linalg.norm(v))))
    assert cosine_between(dosed, v) == pytest.approx(expected, abs=1e-12)


@given(st.floats(-0.98, 0.98), cosines)
def test_curve_of_the_inverse_is_the_coordinate(c: float, c0: float) -> None:
    assert control_coordinate(dose_for(c, c0), c0) == pytest.approx(c, abs=1e-9)


@given(st.floats(-5, 5), cosines)
def test_inverse_of_the_curve_is_the_dose(t: float, c0: float) -> None:
    assert dose_for(control_coordinate(t, c0), c0) == pytest.approx(t, abs=1e-6)


@given(doses, any_cosine)
def test_the_branches_mirror_each_other(t: float, c0: float) -> None:
    assert control_coordinate(-t, c0) == -control_coordinate(t, -c0)


@given(st.floats(-0.99, 0.99), cosines)
def test_the_branches_of_the_inverse_mirror_each_other(c: float, c0: float) -> None:
    assert dose_for(-c, -c0) == pytest.approx(-dose_for(c, c0), abs=1e-12)


@given(doses, doses, any_cosine)
def test_curve_rises_with_the_dose(a: float, b: float, c0: float) -> None:
    low, high = sorted((a, b))
    assert control_coordinate(low, c0) <= control_coordinate(high, c0)


@given(any_cosine)
def test_limits_of_the_curve(c0: float) -> None:
    assert control_coordinate(0.0, c0) == pytest.approx(c0, abs=1e-15)
    assert control_coordinate(1e12, c0) == pytest.approx(1.0, abs=1e-12)
    assert control_coordinate(-1e12, c0) == pytest.approx(-1.0, abs=1e-12)


def test_an_infinite_dose_is_the_limit() -> None:
    assert control_coordinate(math.inf, 0.3) == 1.0
    assert control_coordinate(-math.inf, 0.3) == -1.0


def test_an_unknown_dose_or_cosine_stays_unknown() -> None:
    assert math.isnan(control_coordinate(math.nan, 0.3))
    assert math.isnan(control_coordinate(0.3, math.nan))


@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_curve_near_opposite_residual_agrees_with_exact_arithmetic(gap: float) -> None:
    # 1 + 2·c0·t + t² cancels to nothing here in floating point; compare with fractions of integers.
    from fractions import Fraction

    c0 = -1 + gap
    for t in (0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0):
        exact_c0, exact_t = Fraction(c0), Fraction(t)
        square = 1 + 2 * exact_c0 * exact_t + exact_t**2
        expected = float(exact_c0 + exact_t) / math.sqrt(square)
        assert control_coordinate(t, c0) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_curve_near_a_parallel_residual_stays_within_bounds() -> None:
    c = control_coordinate(np.linspace(0, 5, 101), 1 - 1e-12)
    assert np.all(c <= 1)
    assert np.all(c >= 1 - 1e-11)


def test_curve_where_the_residual_vanishes_is_zero() -> None:
    assert control_coordinate(1.0, -1.0) == 0.0
    assert control_coordinate(-1.0, 1.0) == 0.0
    assert control_coordinate(2.0, -1.0) == 1.0


def test_curve_at_known_points() -> None:
    assert control_coordinate(1.0) == pytest.approx(1 / math.sqrt(2))
    assert control_coordinate(1.46) == pytest.approx(1.46 / math.sqrt(1 + 1.46**2))
    assert dose_for(geometry.RANGE_END) == pytest.approx(4.9247, abs=1e-4)


def test_arrays_broadcast_and_scalars_stay_scalars() -> None:
    table = control_coordinate(np.array([0.0, 1.0, 2.0])[:, None], np.array([-0.5, 0.5]))
    assert isinstance(table, np.ndarray)
    assert table.shape == (3, 2)
    assert table[2, 1] == control_coordinate(2.0, 0.5)
    assert isinstance(control_coordinate(1.0, 0.5), float)
    assert np.asarray(dose_for(np.array([0.1, 0.2]), 0.0)).shape == (2,)


@pytest.mark.parametrize("c0", [1.0001, -2.0])
def test_curve_refuses_a_cosine_out_of_range(c0: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[-1, 1\]"):
        control_coordinate(1.0, c0)


@pytest.mark.parametrize(("c", "c0"), [(1.0, 0.0), (-1.0, 0.0), (1.5, 0.0), (0.5, 1.0), (0.5, -1.0)])
def test_inverse_refuses_what_no_dose_reaches(c: float, c0: float) -> None:
    with pytest.raises(ValueError, match="dose"):
        dose_for(c, c0)


@pytest.mark.parametrize(("r", "v"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_budget_refuses_norms_that_are_none(r: float, v: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        budget(r, v)


@given(seeds)
def test_plateau_is_where_a_huge_capped_dose_goes(seed: int) -> None:
    x, m, v, gain = vectors(seed, 4)
    limit = gain * math.sqrt(x.size) * v / np.linalg.norm(v)
    c0 = cosine_between(x, limit)
    alpha = 1e9 * float(np.linalg.norm(m) / np.linalg.norm(v))
    reached = plateau(c0, float(np.linalg.norm(limit)), float(np.linalg.norm(x)))
    assert cosine_between(capped_residual(x, m, v, gain, alpha), limit) == pytest.approx(reached, abs=1e-6)
    opposite = plateau(-c0, float(np.linalg.norm(limit)), float(np.linalg.norm(x)))
    assert cosine_between(capped_residual(x, m, v, gain, -alpha), -limit) == pytest.approx(opposite, abs=1e-6)


@given(seeds, st.floats(-20, 20))
def test_capped_residual_is_what_an_rms_norm_layer_writes(seed: int, alpha: float) -> None:
    generator = torch.Generator().manual_seed(seed % 2**31)
    x, m, v, gain = (torch.randn(16, generator=generator, dtype=torch.float64) for _ in range(4))
    norm = torch.nn.RMSNorm(16, eps=0.0, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(gain)
        expected = x + norm(m + alpha * v)
    np.testing.assert_allclose(capped_residual(x, m, v, gain, alpha), expected.numpy(), rtol=1e-10, atol=1e-12)


def test_capped_residual_refuses_a_vanishing_ffn_output() -> None:
    v = np.ones(4)
    with pytest.raises(ValueError, match="vanishes"):
        capped_residual(v, -2 * v, v, v, 2.0)


@given(seeds, st.integers(1, 12))
def test_participation_ratio_is_that_of_the_eigenvalues(seed: int, rank: int) -> None:
    observations = np.random.default_rng(seed).normal(size=(rank, 8))
    moment = observations.T @ observations
    eigenvalues = np.linalg.eigvalsh(moment)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(moment) == pytest.approx(expected, rel=1e-9)
    assert participation_ratio(7.5 * moment) == pytest.approx(expected, rel=1e-9)


def test_participation_ratio_counts_equal_directions() -> None:
    assert participation_ratio(np.eye(5)) == pytest.approx(5)
    assert participation_ratio(np.outer(np.arange(4.0), np.arange(4.0))) == pytest.approx(1)
    assert participation_ratio(np.zeros((3, 3))) == 0.0


def test_cosine_with_a_vanishing_vector_is_zero() -> None:
    assert cosine_between([0.0, 0.0], [1.0, 0.0]) == 0.0
