from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.statistics import bootstrap_indices
from controlwindow.windows.thresholds import (
    crossings,
    first_bracket,
    probability_open,
    resampled_shares,
    threshold,
)

LEVEL = 0.5


@st.composite
def measured(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Ascending coordinates and events, [doses, prompts]."""
    doses, prompts = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    steps = draw(st.lists(st.floats(0.01, 0.3), min_size=doses, max_size=doses))
    flat = draw(st.lists(st.booleans(), min_size=doses * prompts, max_size=doses * prompts))
    return np.cumsum(steps) - 0.4, np.array(flat).reshape(doses, prompts)


def reference(coordinates: list[float], shares: list[float], level: float) -> tuple[float, float, float]:
    """The first crossing, one dose after the other."""
    for i, share in enumerate(shares):
        if share >= level:
            if i == 0:
                return coordinates[0], coordinates[0], coordinates[0]
            low, high = coordinates[i - 1], coordinates[i]
            inside = (level - shares[i - 1]) / (share - shares[i - 1])
            return low + inside * (high - low), low, high
    return math.inf, math.inf, math.inf


@given(measured(), st.sampled_from([0.25, 0.5, 0.9, 1.0]))
def test_crossings_equal_a_scan(data: tuple[np.ndarray, np.ndarray], level: float) -> None:
    coordinates, events = data
    shares = events.mean(axis=1)
    found = tuple(float(x[0]) for x in crossings(coordinates, shares[None], level))
    assert found == pytest.approx(reference(coordinates.tolist(), shares.tolist(), level))
    index = first_bracket(shares, level)
    assert (index is None) == math.isinf(found[0])
    if index is not None:
        assert coordinates[index] == found[2]


@given(measured(), st.integers(0, 10))
def test_a_threshold_equals_a_bootstrap_by_hand(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    coordinates, events = data
    replicates = bootstrap_indices(events.shape[1], 40, seed)
    found = threshold(coordinates, events, LEVEL, replicates)
    by_hand = [reference(coordinates.tolist(), events[:, chosen].mean(1).tolist(), LEVEL) for chosen in replicates]
    estimate, low, high = reference(coordinates.tolist(), events.mean(1).tolist(), LEVEL)
    assert found.value == (None if math.isinf(estimate) else pytest.approx(estimate))
    assert found.bracket == (None if math.isinf(estimate) else pytest.approx((low, high)))
    # The 95 % interval takes the 2nd smallest lower end and the 2nd largest upper end of 40 replicates or less.
    lows, highs = sorted(x[1] for x in by_hand), sorted(x[2] for x in by_hand)
    for end, replicate in zip(found.interval, (lows[0], highs[-1]), strict=True):
        if end is None:
            assert math.isinf(max(highs))
        elif math.isfinite(replicate):
            assert lows[0] - 1e-12 <= end <= highs[-1] + 1e-12
    expected_low = float(np.quantile(lows, 0.025, method="lower"))
    expected_high = float(np.quantile(highs, 0.975, method="higher"))
    assert found.interval[0] == (None if math.isinf(expected_low) else pytest.approx(expected_low))
    assert found.interval[1] == (None if math.isinf(expected_high) else pytest.approx(expected_high))


@given(measured(), st.integers(0, 10))
def test_resampled_shares_count_repeated_prompts(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    _, events = data
    replicates = bootstrap_indices(events.shape[1], 12, seed)
    expected = np.array([events[:, chosen].mean(axis=1) for chosen in replicates])
    np.testing.assert_allclose(resampled_shares(events, replicates), expected)


@given(measured(), st.integers(0, 10))
def test_the_probability_pairs_trigger_and_ceiling_by_replicate(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    coordinates, flips = data
    collapses = ~flips & (np.arange(len(flips)) >= len(flips) // 2)[:, None]
    replicates = bootstrap_indices(flips.shape[1], 30, seed)
    opened = 0
    for chosen in replicates:
        trigger = reference(coordinates.tolist(), flips[:, chosen].mean(1).tolist(), LEVEL)[0]
        ceiling = reference(coordinates.tolist(), collapses[:, chosen].mean(1).tolist(), LEVEL)[0]
        opened += math.isfinite(trigger) and trigger < ceiling
    assert probability_open(coordinates, flips, collapses, LEVEL, replicates) == pytest.approx(opened / 30)


def test_only_the_first_crossing_counts() -> None:
    coordinates = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    shares = np.array([[0.0, 0.6, 0.1, 1.0, 1.0], [0.0, 0.0, 0.0, 0.4, 0.6]])
    estimate, low, high = crossings(coordinates, shares, LEVEL)
    assert estimate == pytest.approx([0.2 * 0.5 / 0.6, 0.7])
    assert low.tolist() == [0.0, 0.6]
    assert high.tolist() == [0.2, 0.8]


def test_an_interval_is_never_narrower_than_the_bracket() -> None:
    coordinates = np.array([0.0, 0.3, 0.4])
    events = np.array([[False] * 8, [False] * 8, [True] * 8])
    found = threshold(coordinates, events, LEVEL, bootstrap_indices(8, 200, 0))
    assert found.bracket == found.interval == (0.3, 0.4)
    assert found.value == pytest.approx(0.35)
