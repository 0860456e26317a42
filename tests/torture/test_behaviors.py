"""Behavior files with mistakes load and judge, or are one error; a short, seeded part of `make torture`."""

from __future__ import annotations

import random

import pytest

from torture.behaviors import check_behavior, write_mutated


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_behavior_is_judged_with_or_is_one_error(tmp_path, seed):
    assert check_behavior(write_mutated(tmp_path, random.Random(seed))) is None
