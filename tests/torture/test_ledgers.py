"""Damaged ledgers are one error or say what they said before; a short, seeded part of `make torture`."""

from __future__ import annotations

import contextlib
import random

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


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_ledger_is_one_error_or_says_what_it_said(tmp_path, seed):
    path = write_ledger(tmp_path / "ledger.sqlite", cells=5)
    with Ledger(path) as ledger:
        before = everything(ledger)
    done = spoil(tmp_path, random.Random(seed))
    after = before
    # Any other error fails, and says what was done by the seed alone.
    with contextlib.suppress(LedgerError), Ledger(path) as ledger:
        after = everything(ledger)
    assert after == before, done
