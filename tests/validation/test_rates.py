"""Rates, intervals over lineages and the area under the curve, against slow references."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.validation.rates import Rate, area_under_curve, over_lineages, rate

scores = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=8)


@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_order(positive, negative):
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positive, negative)]
    assert area_under_curve(positive, negative) == pytest.approx(np.mean(pairs))


def test_no_area_without_both_sides():
    assert area_under_curve([], [1.0]) is None
    assert area_under_curve([1.0], []) is None


def test_lineages_are_drawn_whole():
    # Three lineages that are all right or all wrong: the mean can only be that of whole lineages.
    cases = {"x": [1.0] * 5, "y": [0.0] * 5, "z": [1.0] * 5}
    seen = set()

    def mean(drawn):
        seen.add(float(np.mean(drawn)))
        return float(np.mean(drawn))

    interval = over_lineages(cases, mean)
    assert seen == {0.0, 1 / 3, 2 / 3, 1.0}
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert over_lineages({"x": [1.0, 0.0]}, mean) is None


def test_a_rate_counts_and_reads_back():
    found = rate([("x", True), ("x", False), ("y", True)])
    assert (found.k, found.n) == (2, 3)
    assert found.interval.low < 2 / 3 < found.interval.high
    assert found.over_lineages is not None
    assert Rate.from_json(found.to_json()) == found
    assert Rate(0, 0).value is None
    assert tuple(Rate(0, 0).interval) == (0.0, 1.0)
