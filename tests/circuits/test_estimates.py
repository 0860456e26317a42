from __future__ import annotations

import itertools

import numpy as np
import pytest

from controlwindow.circuits.estimates import estimate, paired_difference
from controlwindow.statistics import wilson_interval


def test_a_share_of_one_seed_has_its_wilson_interval() -> None:
    found = estimate([1, 1, 0, 1, 0, 0, 0, 1, 1, 1], 0)
    assert found.value == pytest.approx(0.6)
    assert found.interval == wilson_interval(6, 10)
    assert (found.n, found.by_seed) == (10, (0.6,))


def test_seeds_that_agree_on_nothing_do_not_make_an_interval_without_width() -> None:
    found = estimate(np.zeros((3, 20)), 0)
    assert found.interval == wilson_interval(0, 20)
    assert estimate(np.ones((3, 20)), 0).interval == wilson_interval(20, 20)


def test_an_interval_over_seeds_holds_the_means_of_every_seed() -> None:
    """Two seeds that differ wholly: what is drawn is one, the other, or both."""
    table = np.stack([np.zeros(40), np.ones(40)])
    found = estimate(table, 3)
    assert found.by_seed == (0.0, 1.0)
    assert found.interval == (0.0, 1.0)


def test_the_bootstrap_of_a_weighted_mean_is_the_slow_one() -> None:
    generator = np.random.default_rng(5)
    values, weights = generator.normal(size=30), generator.integers(1, 9, size=30).astype(float)
    found = estimate(values, 7, weights)
    assert found.value == pytest.approx(float(np.average(values, weights=weights)))
    slow = []
    for _ in range(4000):
        drawn = generator.integers(0, 30, size=30)
        slow.append(np.average(values[drawn], weights=weights[drawn]))
    low, high = np.quantile(slow, [0.025, 0.975])
    width = high - low
    assert found.interval.low == pytest.approx(low, abs=0.1 * width)
    assert found.interval.high == pytest.approx(high, abs=0.1 * width)
    assert estimate(values, 7, weights) == found, "one seed gives one interval"


def test_a_paired_difference_is_tested_over_all_sign_flips() -> None:
    first, second = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    moved = np.subtract(first, second)
    slow = [abs(np.dot(signs, moved)) >= abs(moved.sum()) for signs in itertools.product((-1, 1), repeat=6)]
    found = paired_difference(first, second, 0)
    assert found.value == pytest.approx(moved.mean())
    assert found.p == pytest.approx(np.mean(slow))
    assert (found.n, found.seeds, found.seeds_below) == (6, 1, 1)


def test_seeds_are_averaged_prompt_by_prompt_and_counted() -> None:
    found = paired_difference([1.0] * 8, [[0.0] * 8, [1.0] * 8, [1.0] * 4 + [0.0] * 4], 0)
    assert found.value == pytest.approx(0.5)
    assert (found.seeds, found.seeds_below) == (3, 2)
    assert found.interval.low < 0.2 < 0.8 < found.interval.high, "what is drawn of three seeds is uncertain"


@pytest.mark.parametrize(("first", "bounds"), [(1.0, (0.8, 1.0)), (0.0, (-0.2, 0.2))])
def test_a_difference_without_exception_still_has_an_interval(first: float, bounds: tuple[float, float]) -> None:
    found = paired_difference([first] * 20, [0.0] * 20, 0)
    assert found.interval == pytest.approx(bounds, abs=0.05)
