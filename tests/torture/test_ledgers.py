"""Damaged ledgers are one error or say what they said before; a short, seeded part of `make torture`."""

from __future__ import annotations

import contextlib
import random
import shutil

import pytest

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger
from small_ledgers import OPEN, SECRET, a_cell, write_ledger
from torture.ledgers import spoil

KINDS = ("plan", "model", "prediction", "window", "sensitive", "commit")


def everything(ledger: Ledger) -> list:
    cells = [a_cell(behavior, 0.1 * (i + 1)) for behavior in (OPEN, SECRET) for i in range(5)]
    return [
        *map(ledger.find_all, KINDS), *map(ledger.rows, cells), *map(ledger.completions, cells),
        ledger.pending(OPEN), ledger.pending(SECRET), ledger.chunks_done(), ledger.rollout_cells(OPEN, "L0.N1"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = write_ledger(tmp_path_factory.mktemp("whole") / "ledger.sqlite", cells=5)
    with Ledger(path) as ledger:
        return path.parent, everything(ledger)


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_ledger_is_one_error_or_says_what_it_said(whole, tmp_path, seed):
    directory, before = whole
    path = shutil.copytree(directory, tmp_path / "run") / "ledger.sqlite"
    done = spoil(path.parent, random.Random(seed))
    after = before
    # Any other error fails, and says what was done by the seed alone.
    with contextlib.suppress(LedgerError), Ledger(path) as ledger:
        after = everything(ledger)
    assert after == before, done
