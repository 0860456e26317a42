"""Hostile checkpoints and chat templates: each works, or is one clear error."""

from __future__ import annotations

import random

import pytest

from controlwindow.catalogue import organism_path
from torture.hostile import check_hostile, write_hostile


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_checkpoint_works_or_is_one_error(tmp_path, seed):
    done = write_hostile(tmp_path / "model", organism_path("organism:switch"), random.Random(seed))
    assert check_hostile(tmp_path / "model") is None, done
