"""Rates and intervals over lineages, against slow references."""

from __future__ import annotations

import numpy as np

from controlwindow.validation.rates import Rate, over_lineages, rate


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
