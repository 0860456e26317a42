"""Intervals over lineages against textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from controlwindow.jobs.law.lineages import lineage_mean, lineage_skill, pair_mean, ratio_estimate
from law_records import record

T_2 = 4.302652729911275
"""97.5 % quantile of Student's t with 2 degrees of freedom."""


def of_lineages(*counts: int):
    return [record(lineage=name, neuron=f"L1.N{i}") for name, n in zip("abc", counts, strict=True) for i in range(n)]


def test_the_mean_over_lineages_has_students_interval():
    pairs = of_lineages(2, 1, 1)
    found = lineage_mean(pairs, [0.1, 0.3, 0.4, 0.6])
    assert found.value == pytest.approx(0.4)
    # Lineage means 0.2, 0.4, 0.6: standard deviation 0.2.
    reach = T_2 * 0.2 / math.sqrt(3)
    assert found.interval == pytest.approx((0.4 - reach, 0.4 + reach))
    assert (found.n, found.clusters) == (4, 3)


def test_a_skill_is_linearised_lineage_by_lineage():
    pairs = of_lineages(1, 1, 1)
    mine, theirs = [0.05, 0.06, 0.10], [0.10, 0.20, 0.12]
    found = lineage_skill(pairs, mine, theirs)
    ratio = 0.21 / 0.42
    assert found.value == pytest.approx(1 - ratio)
    contributions = np.array([0.05 - ratio * 0.10, 0.06 - ratio * 0.20, 0.10 - ratio * 0.12]) / 0.14
    reach = T_2 * contributions.std(ddof=1) / math.sqrt(3)
    assert found.interval == pytest.approx((1 - ratio - reach, 1 - ratio + reach))


def test_pairs_weigh_the_same_where_they_should():
    pairs = of_lineages(3, 1, 1)
    found = pair_mean(pairs, [1.0, 1.0, 1.0, 0.0, 0.0])
    assert found.value == pytest.approx(0.6)
    contributions = np.array([3 - 0.6 * 3, 0 - 0.6, 0 - 0.6]) / (5 / 3)
    reach = T_2 * contributions.std(ddof=1) / math.sqrt(3)
    assert found.interval == pytest.approx((0.6 - reach, 0.6 + reach))


def test_one_lineage_has_no_interval_and_none_no_value():
    assert lineage_mean(of_lineages(3, 0, 0), [1.0, 2.0, 3.0]).interval is None
    assert lineage_mean([], []).value is None
    assert ratio_estimate([1.0], [0.0], 1).value is None


def test_students_interval_of_eight_covers_as_often_as_it_says():
    generator = np.random.default_rng(8)
    inside = 0
    for _ in range(2000):
        values = list(generator.normal(1.0, 1.0, 8))
        low, high = ratio_estimate(values, [1.0] * 8, 8).interval
        inside += low <= 1.0 <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.02), "a percentile bootstrap of eight covers about 0.89"
