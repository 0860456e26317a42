"""One thing changed anywhere in a ledger is one error that says what; hashes are those that docs/ledger.md states."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger
from forging import edit, forge
from small_ledgers import OPEN, SECRET, a_cell, rows_of, write_ledger

CHANGES = {
    "a digit of a window": (
        "UPDATE event SET payload = replace(payload, '[30,30]', '[30,31]') WHERE kind = 'window'",
        "event 12 (window 'switching/L0.N1/-1') is not what was written",
    ),
    "a digit of the plan": (
        "UPDATE event SET payload = replace(payload, '7', '8') WHERE kind = 'plan'",
        "event 1 (plan 'audit') is not what was written",
    ),
    "a name": (
        "UPDATE event SET name = 'vaults/L0.N2/-1' WHERE name = 'vaults/L0.N1/-1'",
        "event 7 (prediction 'vaults/L0.N2/-1') is not",
    ),
    "a kind": ("UPDATE event SET kind = 'forecast' WHERE sequence = 3", "event 3 (forecast"),
    "a hash": ("UPDATE event SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE sequence = 2", "event 2 (model"),
    "an event that is no text": ("UPDATE event SET payload = x'ff00' WHERE kind = 'model'", "event 2 (model"),
    "a deleted event": ("DELETE FROM event WHERE kind = 'prediction' AND name LIKE 'switching%'", "event 3 is missing"),
    "the deleted last event": ("DELETE FROM event WHERE kind = 'window'", "its last events are missing, 1 of 12"),
    "events that changed places": (
        "UPDATE event SET sequence = CASE sequence WHEN 1 THEN 20 ELSE sequence END",
        "event 1 is missing",
    ),
    "an event too many": (
        "INSERT INTO event VALUES (13, 'window', 'x', '{}', '')",
        "event 13 (window 'x') is not what was written",
    ),
    "an end that was moved": ("UPDATE head SET events = 11", "its events end otherwise"),
    "no end": ("DELETE FROM head", "where its events end"),
    "a digit of a row": (
        "UPDATE row SET payload = replace(payload, '0.125', '0.126') WHERE place = 1 AND cell LIKE '%0.2%'",
        "the rows of the cell",
    ),
    "a truncated row": ("UPDATE row SET payload = substr(payload, 1, 9) WHERE place = 0", "the rows of the cell"),
    "a row that is no text": ("UPDATE row SET payload = x'fe' WHERE place = 0", "the rows of the cell"),
    "rows that changed places": ("UPDATE row SET place = place - 1", "the rows of the cell"),
    "a missing row": ("DELETE FROM row WHERE place = 1", "the rows of the cell"),
    "missing rows": ("DELETE FROM row WHERE cell LIKE '%switching%'", "are missing"),
    "all rows": ("DELETE FROM row", "are missing"),
    "a row too many": (
        "INSERT INTO row SELECT cell, 2, payload FROM row WHERE place = 1 LIMIT 1",
        "the rows of the cell",
    ),
    "rows of a chunk that was not measured": (
        "INSERT INTO row SELECT key, 0, '{}' FROM cell WHERE hash IS NULL",
        "which was not measured",
    ),
    "rows of another cell": (
        "UPDATE row SET payload = (SELECT payload FROM row AS other WHERE other.cell != row.cell LIMIT 1)",
        "the rows of the cell",
    ),
    "a cell's key": ("UPDATE cell SET key = replace(key, '0.1', '0.7')", "is not among the cells of event 4"),
    "a cell's hash": ("UPDATE cell SET hash = replace(hash, 'a', 'b')", "hashes of the cells of event 4"),
    "a cell's chunk": ("UPDATE cell SET chunk = 5", "is not among the cells of event 4"),
    "a cell too many": ("INSERT INTO cell VALUES ('[\"X\",{}]', 4, 0, '')", "was never planned"),
    "a chunk declared done": ("UPDATE chunk SET done = 1", "whether event 5 (chunk 'switching/5') was measured"),
    "a chunk declared undone": ("UPDATE chunk SET done = 0", "whether event 4 (chunk 'switching/4') was measured"),
    "a chunk too many": ("INSERT INTO chunk VALUES (1, 0)", "chunks that were never planned"),
    "a completion": ("UPDATE generated SET payload = replace(payload, 'p1', 'p7')", "the completions of the cell"),
    "a completion's hash": ("UPDATE generated SET hash = ''", "the completions of the cell"),
    "a missing completion": ("DELETE FROM generated", "are missing"),
    "completions where there are none": (
        "INSERT INTO generated SELECT key, '[]', '' FROM cell WHERE key LIKE '%vaults%' LIMIT 1",
        "which has none here",
    ),
    "a table": ("DROP TABLE generated", "its tables are not those"),
    "a column": ("ALTER TABLE row ADD COLUMN more", "its tables are not those"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_ledger(tmp_path_factory.mktemp("whole") / "ledger.sqlite")


@pytest.fixture
def path(whole, tmp_path):
    """The ledger of a copy."""
    return shutil.copytree(whole.parent, tmp_path / "run") / whole.name


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_one_error_that_says_what_was_changed(path, change):
    statement, said = CHANGES[change]
    edit(path, statement)
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert "copy" in caught.value.hint


def test_an_unchanged_ledger_gives_what_was_written(path):
    with Ledger(path) as ledger:
        assert not ledger.without_integrity
        assert ledger.rows(a_cell(OPEN, 0.2)) == rows_of(a_cell(OPEN, 0.2))
        assert ledger.rows(a_cell(SECRET, 0.1)) == [{"prompt": p, "excess": 0.125} for p in ("p1", "p2")]
        assert ledger.completions(a_cell(SECRET, 0.1)) == [
            {"text": row["text"], "token_ids": [1, 2]} for row in rows_of(a_cell(SECRET, 0.1))
        ]
        assert ledger.completions(a_cell(OPEN, 0.2)) is None
        assert ledger.rows(a_cell(OPEN, 0.1 * 3)) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE generated SET payload = replace(payload, 'p1', 'p7')",
        "UPDATE generated SET payload = substr(payload, 1, 5)",
        "UPDATE generated SET hash = ''",
        "DELETE FROM generated",
    ],
)
def test_a_changed_completion_of_a_sensitive_behavior_is_not_read(path, statement):
    edit(path.with_name("completions.sqlite"), statement)
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="the completions of the cell") as caught:
        ledger.completions(a_cell(SECRET, 0.1))
    assert "completions.sqlite" in caught.value.message


def test_completions_of_another_run_are_not_taken(path, whole, tmp_path):
    other = shutil.copytree(whole.parent, tmp_path / "other") / whole.name
    forge(other, "UPDATE event SET payload = '{\"seed\":8}' WHERE kind = 'plan'")
    other.with_name("completions.sqlite").replace(path.with_name("completions.sqlite"))
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="not what was written"):
        ledger.completions(a_cell(SECRET, 0.1))


def test_hashes_are_those_of_the_documentation(path):
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    forge(path, "UPDATE head SET events = events")
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_nothing_is_signed(path):
    forge(path, "UPDATE event SET payload = replace(payload, '[30,30]', '[30,31]') WHERE kind = 'window'")
    with Ledger(path) as ledger:
        assert ledger.find("window", f"{OPEN}/L0.N1/-1") == {"trigger": 0.3, "outcomes": [30, 31]}


def test_names_from_a_changed_file_are_shown_without_control_characters(path):
    edit(path, "UPDATE event SET name = ? WHERE kind = 'window'", ["\x1b[31m" + "x" * 5000])
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_and_cuts_are_one_error_or_change_nothing(path, seed):
    with Ledger(path) as ledger:
        whole = _everything(ledger)
    generator = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(generator.choice([1, 1, 4])):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content[: generator.choice([len(content)] * 5 + [generator.randrange(len(content))])])
    found = whole
    # Any other error than this one fails.
    with contextlib.suppress(LedgerError), Ledger(path) as ledger:
        found = _everything(ledger)
    assert found == whole


def _everything(ledger: Ledger) -> list:
    records = [ledger.find_all(kind) for kind in ("plan", "model", "prediction", "window")]
    cells = [a_cell(behavior, 0.1 * (i + 1)) for behavior in (OPEN, SECRET) for i in range(3)]
    return [*records, *(ledger.rows(cell) for cell in cells), *(ledger.pending(b) for b in (OPEN, SECRET))]
