"""What scouts may decide: exact tails by enumeration, a random order, and stages."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.windows.scouting import MISS, STRAY, Share, scouting_order, stages

PROMPTS = tuple(f"evaluate.p{i:03d}" for i in range(40))


def chance_of_so_few(count: int, seen: int, total: int, needed: int) -> float:
    """By counting the subsets of `seen` prompts that hold at most `count` of the `needed` ones."""
    few = sum(comb(needed, k) * comb(total - needed, seen - k) for k in range(count + 1))
    return few / comb(total, seen)


def test_the_count_of_subsets_is_one_by_enumeration():
    subsets = list(combinations(range(9), 4))
    few = sum(sum(i < 5 for i in subset) <= 1 for subset in subsets)
    assert chance_of_so_few(1, 4, 9, 5) == pytest.approx(few / len(subsets))


@given(st.data(), st.sampled_from([0.25, 0.5, 0.9]))
def test_a_dose_is_set_aside_only_where_the_level_would_rarely_show_so_little(data, level):
    total = data.draw(st.integers(2, 60))
    seen = data.draw(st.integers(1, total - 1))
    count = data.draw(st.integers(0, seen))
    needed = next(k for k in range(total + 1) if k / total >= level - 1e-12)
    chance = chance_of_so_few(count, seen, total, needed)
    if abs(chance - MISS) > 1e-9:
        assert Share(count, seen, total).clearly_below(level) == (chance < MISS)


def tail(count: int, total: int, needed: int) -> float:
    """P(at least `needed` of `total` draws hit) where `count` of `total` do, as an exact fraction."""
    hits = sum(comb(total, k) * count**k * (total - count) ** (total - k) for k in range(needed, total + 1))
    return float(Fraction(hits, total**total))


@pytest.mark.parametrize(
    ("total", "below", "above"), [(16, 3, 12), (24, 6, 17), (32, 9, 22), (48, 15, 32), (64, 22, 41)]
)
def test_a_dose_bounds_an_interval_only_where_the_bootstrap_hardly_crosses_it(total, below, above):
    half = total // 2
    for count in range(total + 1):
        assert Share(count, total, total).surely_below(0.5) == (tail(count, total, half) < STRAY)
        assert Share(count, total, total).surely_above(0.5) == (tail(total - count, total, half + 1) < STRAY)
    assert Share(below, total, total).surely_below(0.5)
    assert not Share(below + 1, total, total).surely_below(0.5)
    assert Share(above, total, total).surely_above(0.5)
    assert not Share(above - 1, total, total).surely_above(0.5)


def test_a_quarter_of_sixteen_leaves_the_bootstrap_more_than_its_quantile():
    # Wilson's interval of 4 of 16 ends below a half, the bootstrap's does not: its lower end fell back to c0.
    assert tail(4, 16, 8) == pytest.approx(0.0271, abs=5e-5)
    assert not Share(4, 16, 16).surely_below(0.5)


def test_a_dose_measured_in_full_is_known():
    assert Share(19, 40, 40).clearly_below(0.5)
    assert not Share(20, 40, 40).clearly_below(0.5)
    assert not Share(0, 39, 40).surely_below(0.5)
    assert not Share(39, 39, 40).surely_above(0.5)


def test_what_eight_scouts_of_forty_settle():
    settled = [Share(count, 8, 40).clearly_below(0.5) for count in range(9)]
    assert settled == [True] + [False] * 8
    assert chance_of_so_few(0, 8, 40, 20) == pytest.approx(0.0016, abs=5e-5)
    assert chance_of_so_few(0, 8, 40, 24) == pytest.approx(0.0002, abs=5e-5)


def test_the_order_is_a_seeded_permutation():
    order = scouting_order(PROMPTS, "refusal", "evaluate")
    assert sorted(order) == sorted(PROMPTS)
    assert order == scouting_order(PROMPTS, "refusal", "evaluate")
    assert order != scouting_order(PROMPTS, "language", "evaluate")
    # Scouts of many behaviors fall on the prompts evenly: 8 of 40 each, so 100 ± 4 sd of 9 in 500.
    counts = dict.fromkeys(PROMPTS, 0)
    for number in range(500):
        for prompt in scouting_order(PROMPTS, f"behavior {number}", "evaluate")[:8]:
            counts[prompt] += 1
    assert np.std(list(counts.values())) < 15
    assert min(counts.values()) > 60


@given(st.integers(1, 200), st.integers(1, 20))
def test_stages_rise_from_the_scouts_to_all(prompts, scouts):
    found = stages(prompts, scouts)
    assert found[-1] == prompts
    assert list(found) == sorted(set(found))
    assert set(found) <= {scouts, 2 * scouts, prompts}
