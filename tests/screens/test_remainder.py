"""What a narrowing left behind: drawn with known probabilities, and what follows for its recall."""

from __future__ import annotations

import numpy as np
import pytest

from controlwindow.screens.remainder import Remainder, draw_remainder, narrowing_recall
from controlwindow.statistics import exact_interval

LAYERS = np.repeat([0, 1, 2], [40, 40, 3])
KEPT = np.array([0, 1, 41, 80, 81, 82])


def test_each_layer_is_drawn_from_with_a_probability_that_is_recorded() -> None:
    found = draw_remainder(LAYERS, KEPT, 10, "b", 0)
    assert np.bincount(LAYERS[found.drawn], minlength=3).tolist() == [4, 4, 0]
    assert not set(found.drawn) & set(KEPT)
    assert found.inclusion[KEPT].tolist() == [1.0] * 6
    assert found.inclusion[2:40].tolist() == [4 / 38] * 38
    assert found.inclusion[[40, 42, 79]].tolist() == [4 / 39] * 3
    again, other = draw_remainder(LAYERS, KEPT, 10, "b", 0), draw_remainder(LAYERS, KEPT, 10, "b", 1)
    assert again.drawn.tolist() == found.drawn.tolist() != other.drawn.tolist()


def test_every_layer_with_neurons_left_gives_one_at_least() -> None:
    found = draw_remainder(LAYERS, KEPT, 1000, "b", 0)
    assert np.bincount(LAYERS[found.drawn], minlength=3).tolist() == [1, 1, 0]


def test_the_estimate_is_unbiased_over_draws() -> None:
    """Of 20 that would go on, 14 were kept; over many draws the estimated total is 20."""
    layers, kept = np.zeros(100, dtype=np.int64), np.arange(30)
    good = np.r_[np.arange(14), [50, 60, 70, 80, 90, 99]]
    totals = []
    for seed in range(400):
        drawn = draw_remainder(layers, kept, 7, seed)
        found = narrowing_recall(drawn, np.intersect1d(good, np.r_[kept, drawn.drawn]))
        assert found is not None
        totals.append(found.kept / found.estimate)
    assert np.mean(totals) == pytest.approx(20, abs=0.6)


def test_an_interval_comes_from_the_draw() -> None:
    remainder = Remainder(np.array([10, 20, 30, 40]), np.r_[np.ones(10), np.full(40, 0.1)])
    found = narrowing_recall(remainder, np.array([0, 1, 2, 20]))
    assert found is not None
    low, high = exact_interval(1, 4)
    assert (found.kept, found.drawn, found.hits) == (3, 4, 1)
    assert found.estimate == pytest.approx(3 / 13)
    assert found.interval == pytest.approx((3 / (3 + high * 40), 3 / (3 + low * 40)))
    assert "of 4 drawn at random from those it left behind, 1 would have gone on" in str(found)


def test_nobody_left_behind_leaves_nothing_to_estimate() -> None:
    remainder = draw_remainder(np.zeros(4, dtype=np.int64), np.arange(4), 10, 0)
    assert len(remainder.drawn) == 0
    assert narrowing_recall(remainder, np.arange(2)) is None
