"""Ledgers of version 1, which kept no hashes: read, marked, and brought to this version when they are gone on with."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_sensitive_runs import Declared, assert_apart, texts

from controlwindow.cells import cell_key
from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger, settle_sensitivity
from small_ledgers import OPEN, SECRET, a_cell, rows_of

VERSION_1 = """
PRAGMA journal_mode=WAL;
BEGIN IMMEDIATE; PRAGMA application_id=1129794609; PRAGMA user_version=1;
CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
                    payload TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE chunk (sequence INTEGER PRIMARY KEY REFERENCES event(sequence), done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE cell (key TEXT PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk(sequence));
CREATE INDEX cell_neuron ON cell (json_extract(key, '$[1].neuron'));
CREATE TABLE row (cell TEXT NOT NULL REFERENCES cell(key), place INTEGER NOT NULL, payload TEXT NOT NULL,
                  PRIMARY KEY (cell, place)) WITHOUT ROWID;
COMMIT;
"""


def as_text(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.fixture
def path(tmp_path) -> Path:
    """As the version without hashes wrote it: of each behavior a chunk that is done and one that is not."""
    found = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(found)) as ledger, closing(sqlite3.connect(tmp_path / "completions.sqlite")) as apart:
        ledger.executescript(VERSION_1)
        apart.execute(
            "CREATE TABLE completion (cell TEXT, place INTEGER, payload TEXT, PRIMARY KEY (cell, place)) WITHOUT ROWID"
        )
        records = [("plan", "audit", {"seed": 7}), *(("behavior", b, {"name": b, "sensitive": b == SECRET}) for b in
                   (OPEN, SECRET)), ("prediction", f"{OPEN}/L0.N1/-1", {"c": 0.75})]  # fmt: skip
        chunks = [
            (OPEN, [a_cell(OPEN, 0.1), a_cell(OPEN, 0.2)], 1), (OPEN, [a_cell(OPEN, 0.3)], 0),
            (SECRET, [a_cell(SECRET, 0.1)], 1), (SECRET, [a_cell(SECRET, 0.3)], 0),
        ]  # fmt: skip
        for kind, name, payload in records:
            ledger.execute("INSERT INTO event (kind, name, payload) VALUES (?, ?, ?)", (kind, name, as_text(payload)))
        for number, (stage, cells, done) in enumerate(chunks, len(records) + 1):
            keys = [cell_key(cell) for cell in cells]
            ledger.execute("INSERT INTO event VALUES (?, 'chunk', ?, ?)", (number, f"{stage}/{number}", as_text(keys)))
            ledger.execute("INSERT INTO chunk VALUES (?, ?)", (number, done))
            for cell, key in zip(cells, keys, strict=True):
                ledger.execute("INSERT INTO cell VALUES (?, ?)", (key, number))
                for place, row in enumerate(rows_of(cell) if done else []):
                    public = {k: v for k, v in row.items() if stage == OPEN or k not in ("text", "token_ids")}
                    secret = {k: v for k, v in row.items() if k not in public}
                    ledger.execute("INSERT INTO row VALUES (?, ?, ?)", (key, place, as_text(public)))
                    if secret:
                        apart.execute("INSERT INTO completion VALUES (?, ?, ?)", (key, place, as_text(secret)))
        ledger.commit()
        apart.commit()
    return found


def assert_as_written(ledger: Ledger) -> None:
    assert ledger.without_integrity
    assert ledger.find("plan", "audit") == {"seed": 7}
    assert [ledger.sequence("prediction", f"{OPEN}/L0.N1/-1"), ledger.first_rollout("L0.N1", SECRET)] == [4, 7]
    assert ledger.rows(a_cell(OPEN, 0.2)) == rows_of(a_cell(OPEN, 0.2))
    assert ledger.rows(a_cell(OPEN, 0.3)) is None
    assert ledger.rows(a_cell(SECRET, 0.1)) == [{"prompt": p, "excess": 0.125} for p in ("p1", "p2")]
    assert ledger.completions(a_cell(SECRET, 0.1)) == texts(SECRET, 0.1)
    assert [chunk.cells for chunk in ledger.pending(OPEN)] == [(a_cell(OPEN, 0.3),)]


def test_it_is_read_and_left_as_it_is(path):
    before = path.read_bytes()
    with Ledger(path) as ledger:
        assert_as_written(ledger)
    assert path.read_bytes() == before


def test_it_is_gone_on_with_in_this_version(path):
    with Ledger(path) as ledger:
        ledger.lock()
        for behavior in (OPEN, SECRET):
            (chunk,) = ledger.pending(behavior)
            ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells}, sensitive=behavior == SECRET)
    assert {p.name for p in path.parent.iterdir()} == {"ledger.sqlite", "completions.sqlite"}
    with Ledger(path) as ledger:
        assert ledger.without_integrity, "what came before was held against nothing"
        assert ledger.rows(a_cell(OPEN, 0.1)) == rows_of(a_cell(OPEN, 0.1))
        assert ledger.rows(a_cell(OPEN, 0.3)) == rows_of(a_cell(OPEN, 0.3))
        assert ledger.completions(a_cell(SECRET, 0.1)) == texts(SECRET, 0.1)
        assert ledger.completions(a_cell(SECRET, 0.3)) == texts(SECRET, 0.3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE row SET payload = replace(payload, '0.125', '0.126')")
    with pytest.raises(LedgerError, match="the rows of the cell"):
        Ledger(path)


def test_its_completions_are_moved_when_a_behavior_is_declared_sensitive(path):
    with Ledger(path) as ledger:
        settle_sensitivity(ledger, [Declared(OPEN, True), Declared(SECRET, True)])
    assert_apart(path.parent, OPEN)
    with Ledger(path) as ledger:
        assert ledger.completions(a_cell(OPEN, 0.2)) == texts(OPEN, 0.2)
        assert ledger.completions(a_cell(SECRET, 0.1)) == texts(SECRET, 0.1)


def test_rows_that_fell_on_both_sides_are_brought_together(path):
    """Begun as sensitive, gone on with as not, which that version did not refuse."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE row SET payload = ? WHERE place = 0 AND cell = ?",
                           (as_text(rows_of(a_cell(OPEN, 0.2))[0]), cell_key(a_cell(OPEN, 0.2))))  # fmt: skip
        connection.execute(
            "UPDATE event SET payload = replace(payload, 'false', 'true') WHERE kind = 'behavior' AND name = ?", (OPEN,)
        )
    with Ledger(path) as ledger:
        settle_sensitivity(ledger, [Declared(OPEN, True)])
    assert_apart(path.parent, OPEN)
    with Ledger(path) as ledger:
        assert ledger.completions(a_cell(OPEN, 0.1)) == texts(OPEN, 0.1)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM event WHERE sequence = 3",
        "DELETE FROM chunk",
        "UPDATE row SET payload = substr(payload, 1, 5)",
        "UPDATE event SET payload = '[' WHERE kind = 'chunk'",
        "UPDATE event SET payload = '[[1]]' WHERE kind = 'chunk'",
        "UPDATE event SET payload = x'ff' WHERE kind = 'plan'",
        "DROP TABLE row",
    ],
)
def test_a_damaged_one_is_one_error(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    assert caught.value.hint
    assert str(path) in caught.value.message
