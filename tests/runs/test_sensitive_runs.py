"""A behavior declared sensitive in mid-run: nothing that was generated stays in the ledger, byte for byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger, behavior_records, settle_sensitivity
from controlwindow.runs.ledger import completions as completions_module
from small_ledgers import OPEN, SECRET, a_cell, rows_of, write_ledger


class Declared(NamedTuple):
    name: str
    sensitive: bool


def assert_apart(directory: Path, behavior: str) -> None:
    """No file but the private one holds a completion, its journals included."""
    for path in directory.iterdir():
        if not path.name.startswith("completions.sqlite"):
            assert f" of {behavior} at ".encode() not in path.read_bytes(), path.name
        else:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def texts(behavior: str, t: float) -> list[dict]:
    return [{"text": row["text"], "token_ids": [1, 2]} for row in rows_of(a_cell(behavior, t))]


def test_completions_written_before_are_moved(tmp_path):
    path = write_ledger(tmp_path / "ledger.sqlite", cells=40)
    assert f" of {OPEN} at ".encode() in path.read_bytes()
    with Ledger(path) as ledger:
        settle_sensitivity(ledger, [Declared(OPEN, True), Declared(SECRET, True)])
        assert_apart(tmp_path, OPEN)
        assert ledger.find("sensitive", OPEN) == {"moved": 38}
        ledger.record("behavior", OPEN, {"name": OPEN, "sensitive": False})
        ledger.record("behavior", "other", {"name": "other", "sensitive": False})
        assert {name: record["sensitive"] for name, record in behavior_records(ledger).items()} == {
            OPEN: True,
            "other": False,
        }
    assert_apart(tmp_path, OPEN)
    with Ledger(path) as ledger:
        for t in (0.1, 0.1 * 38):
            assert ledger.rows(a_cell(OPEN, t)) == [{"prompt": p, "excess": 0.125} for p in ("p1", "p2")]
            assert ledger.completions(a_cell(OPEN, t)) == texts(OPEN, t)
            assert ledger.completions(a_cell(SECRET, t)) == texts(SECRET, t)


def test_a_commit_that_is_sensitive_moves_what_came_before(tmp_path):
    path = write_ledger(tmp_path / "ledger.sqlite")
    with Ledger(path) as ledger:
        (chunk,) = ledger.pending(OPEN)
        ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells}, sensitive=True)
    assert_apart(tmp_path, OPEN)
    with Ledger(path) as ledger:
        assert all(ledger.completions(a_cell(OPEN, 0.1 * n)) == texts(OPEN, 0.1 * n) for n in (1, 2, 3))


def test_what_was_sensitive_once_stays_apart(tmp_path):
    path = write_ledger(tmp_path / "ledger.sqlite")
    with Ledger(path) as ledger:
        with pytest.raises(LedgerError, match="'vaults' was sensitive") as caught:
            settle_sensitivity(ledger, [Declared(OPEN, False), Declared(SECRET, False)])
        assert "sensitive = true" in caught.value.hint
        (chunk,) = ledger.pending(SECRET)
        ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells}, sensitive=False)
    assert_apart(tmp_path, SECRET)


@pytest.mark.parametrize("moment", ["before the file apart", "between the files"])
def test_a_kill_while_moving_loses_and_leaves_nothing(tmp_path, monkeypatch, moment):
    path = write_ledger(tmp_path / "ledger.sqlite", cells=9)
    child = os.fork()
    if not child:
        ledger = Ledger(path)
        if moment == "between the files":
            monkeypatch.setattr(Ledger, "_transaction", lambda self: os.kill(os.getpid(), 9))
        else:
            monkeypatch.setattr(completions_module, "put", lambda *_: os.kill(os.getpid(), 9))
        ledger.keep_apart(OPEN)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    with Ledger(path) as ledger:
        assert ledger.rows(a_cell(OPEN, 0.1)) == rows_of(a_cell(OPEN, 0.1))
        ledger.keep_apart(OPEN)
    assert_apart(tmp_path, OPEN)
    with Ledger(path) as ledger:
        assert ledger.completions(a_cell(OPEN, 0.1)) == texts(OPEN, 0.1)
