from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from controlwindow.statistics import (
    Interval,
    area_under_roc,
    bootstrap_indices,
    exact_interval,
    pairs_above,
    percentile_interval,
    stable_seed,
    wilson_interval,
)

counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_interval_is_the_textbook_formula(pair: tuple[int, int]) -> None:
    successes, trials = pair
    z, p = stats.norm.ppf(0.975), successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = wilson_interval(successes, trials)
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)


@given(counts)
def test_exact_interval_is_that_of_the_beta_quantiles_and_wider(pair: tuple[int, int]) -> None:
    successes, trials = pair
    low, high = exact_interval(successes, trials)
    expected_low = 0.0 if successes == 0 else stats.beta.ppf(0.025, successes, trials - successes + 1)
    expected_high = 1.0 if successes == trials else stats.beta.ppf(0.975, successes + 1, trials - successes)
    assert low == pytest.approx(expected_low, abs=1e-8)
    assert high == pytest.approx(expected_high, abs=1e-8)
    assert low <= successes / trials <= high


def test_no_trials_say_nothing() -> None:
    assert wilson_interval(0, 0) == exact_interval(0, 0) == Interval(0.0, 1.0)


def test_a_higher_level_gives_a_wider_interval() -> None:
    narrow, wide = wilson_interval(3, 10, level=0.5), wilson_interval(3, 10, level=0.99)
    assert wide.low < narrow.low < 0.3 < narrow.high < wide.high


def test_percentile_interval_takes_replicates_themselves() -> None:
    assert percentile_interval(np.arange(1000.0), level=0.9) == Interval(49.0, 950.0)


def test_percentile_interval_keeps_what_is_not_reached() -> None:
    values = np.array([1.0] * 90 + [math.inf] * 10)
    assert percentile_interval(values) == Interval(1.0, math.inf)
    assert percentile_interval(np.full(10, math.inf)) == Interval(math.inf, math.inf)
    assert percentile_interval(np.array([1.0] * 99 + [math.inf]), level=0.5) == Interval(1.0, 1.0)


def test_bootstrap_is_reproducible_and_uniform() -> None:
    first = bootstrap_indices(7, 3000, seed=5)
    assert first.shape == (3000, 7)
    np.testing.assert_array_equal(first, bootstrap_indices(7, 3000, seed=5))
    assert not np.array_equal(first, bootstrap_indices(7, 3000, seed=6))
    assert stats.chisquare(np.bincount(first.ravel(), minlength=7)).pvalue > 1e-4


def test_stable_seed_is_the_same_on_every_machine_and_tells_parts_apart() -> None:
    assert stable_seed("bootstrap", 0, "L3.N7") == stable_seed("bootstrap", "0", "L3.N7")
    assert stable_seed("ab", "c") != stable_seed("a", "bc")
    assert 0 <= stable_seed("x") < 2**63
    assert stable_seed("probe", 0, 1) == 6245970802582156297  # a change of it would change every shipped figure


scores = st.lists(st.integers(0, 4).map(float) | st.just(math.inf), min_size=1, max_size=12)


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(negatives: list[float], positives: list[float]) -> None:
    pairs = [(one > other) + (one == other) / 2 for one in positives for other in negatives]
    area = area_under_roc(negatives, positives)
    assert area == pytest.approx(sum(pairs) / len(pairs))
    assert pairs_above(np.array(positives)[:, None], np.array(negatives)[:, None]).ravel().tolist() == pairs
    u = stats.mannwhitneyu(positives, negatives, method="asymptotic").statistic
    assert area == u / (len(positives) * len(negatives))


def test_no_area_without_both_sides() -> None:
    assert math.isnan(area_under_roc([], [1.0]))
    assert math.isnan(area_under_roc([1.0], []))
