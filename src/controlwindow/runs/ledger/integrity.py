"""Hashes over everything that a ledger holds, and holding what is read against them (docs/ledger.md).

They tell accidents and careless edits. Nothing is signed: who changes a ledger and computes all hashes again, is not
seen.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from controlwindow.errors import LedgerError

COMMIT = "commit"
"""Kind of the event that stands for a committed chunk."""
SENSITIVE = "sensitive"
"""Kind of the event that says that a behavior's completions lie apart."""
_LONGEST = 200


class Event(NamedTuple):
    """One event as written."""

    sequence: int
    kind: str
    name: str
    payload: str
    hash: str


class _Cell(NamedTuple):
    chunk: int
    completions: int | None
    hash: str | None


def event_hash(previous: str, sequence: int, kind: str, name: str, payload: str) -> str:
    """Hash of an event, which covers all before it.

    Args:
        previous: Hash of the event before; "" for the first.
        sequence: Its place in the order of events.
        kind: Its kind.
        name: Its name.
        payload: Its JSON text.
    """
    return _hash([previous, str(sequence), json.dumps([kind, name]), payload])


def cell_hash(planned: str, key: str, entries: Iterable[tuple[int, str]]) -> str:
    """Hash of what was measured or generated for one cell.

    Args:
        planned: Hash of the event that planned its chunk, so that rows of another run do not pass.
        key: The cell's key.
        entries: Places from 0 and JSON texts.
    """
    return _hash([planned, key, *(f"{place} {payload}" for place, payload in entries)])


def chunk_hash(cells: Iterable[tuple[int | None, str]]) -> str:
    """Hash of a committed chunk.

    Args:
        cells: For each cell in the order planned whether it has completions (1, 0, None: unknown), and its hash.
    """
    return _hash([f"{completions} {digest}" for completions, digest in cells])


def _hash(lines: Sequence[str]) -> str:
    # No line holds a line break: texts are JSON, which escapes it.
    return sha256("\n".join(map(str, lines)).encode("utf-8", "surrogateescape")).hexdigest()


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Hold every event, cell and row against the hashes, as of one moment.

    Raises:
        LedgerError: Something was changed, moved, added or removed; the message says what.
        sqlite3.Error: It cannot be read.
    """
    before = connection.text_factory
    # What a flipped bit made unreadable as text is to be named like everything else.
    connection.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    connection.execute("BEGIN")
    try:
        events = _verified_events(connection, path)
        cells = _verified_cells(connection, path, events)
        _verify_rows(connection, path, events, cells)
        _verify_completions(connection, path, events, cells)
    finally:
        connection.execute("COMMIT")
        connection.text_factory = before


def changed(path: Path | None, what: str) -> LedgerError:
    """The error for a ledger that no longer says what was written."""
    where = path if path is not None else "the in-memory ledger"
    return LedgerError(
        f"{where} was changed after it was written: {what}",
        "restore it from a copy (with its -journal, if there is one), or start the run again elsewhere",
    )


def _verified_events(connection: sqlite3.Connection, path: Path) -> list[Event]:
    events: list[Event] = []
    previous = ""
    for values in connection.execute("SELECT sequence, kind, name, payload, hash FROM event ORDER BY sequence"):
        event = Event(*values)
        if event.sequence != len(events) + 1:
            raise changed(path, f"event {len(events) + 1} is missing, before {_say_event(event)}")
        if event.hash != event_hash(previous, *event[:4]):
            raise changed(path, f"{_say_event(event)} is not what was written")
        events.append(event)
        previous = event.hash
    heads = connection.execute("SELECT events, hash FROM head").fetchall()
    if len(heads) != 1 or not isinstance(heads[0][0], int):
        raise changed(path, "it does not say where its events end")
    count, last = heads[0]
    if count > len(events):
        raise changed(path, f"its last events are missing, {count - len(events)} of {count}")
    if count != len(events) or last != previous:
        raise changed(path, f"its events end otherwise than they did, after {count}")
    return events


def _verified_cells(connection: sqlite3.Connection, path: Path, events: Sequence[Event]) -> dict[str, _Cell]:
    """Cells by key, as the events planned them and as the chunks were committed."""
    cells = {
        key: _Cell(*values) for key, *values in connection.execute("SELECT key, chunk, completions, hash FROM cell")
    }
    done = dict(connection.execute("SELECT sequence, done FROM chunk"))
    committed = {event.name: event for event in events if event.kind == COMMIT}
    chunks = [event for event in events if event.kind == "chunk"]
    planned = 0
    for event in chunks:
        keys = json.loads(event.payload)
        planned += len(keys)
        for key in keys:
            if key not in cells or cells[key].chunk != event.sequence:
                raise changed(path, f"{say_cell(key)} is not among the cells of {_say_event(event)}, which planned it")
        commit = committed.pop(event.name, None)
        if done.pop(event.sequence, None) != int(commit is not None):
            raise changed(path, f"whether {_say_event(event)} was measured is not what was written")
        if commit is None:
            continue
        stated = json.loads(commit.payload)["hash"]
        if stated != chunk_hash((cells[key].completions, str(cells[key].hash)) for key in keys):
            raise changed(path, f"hashes of the cells of {_say_event(event)} are not those that were written")
    if planned != len(cells):
        known = {key for event in chunks for key in json.loads(event.payload)}
        raise changed(path, f"{say_cell(next(key for key in cells if key not in known))} was never planned")
    if done or committed:
        raise changed(path, "it holds chunks that were never planned")
    return cells


def _verify_rows(connection: sqlite3.Connection, path: Path, events: Sequence[Event], cells: dict[str, _Cell]) -> None:
    seen = 0
    finished = {event.name for event in events if event.kind == COMMIT}
    for key, rows in groupby(
        connection.execute("SELECT cell, place, payload FROM row ORDER BY cell, place"), key=lambda row: row[0]
    ):
        cell = cells.get(key)
        event = None if cell is None else events[cell.chunk - 1]
        if cell is None or event is None or event.name not in finished:
            raise changed(path, f"there are rows of {say_cell(key)}, which was not measured")
        if cell.hash != cell_hash(event.hash, key, ((place, payload) for _, place, payload in rows)):
            raise changed(path, f"the rows of {say_cell(key)} are not what was written")
        seen += 1
    measured = [key for key, cell in cells.items() if events[cell.chunk - 1].name in finished]
    if seen != len(measured):
        with_rows = {key for (key,) in connection.execute("SELECT DISTINCT cell FROM row")}
        for key in measured:
            if key not in with_rows and cells[key].hash != cell_hash(events[cells[key].chunk - 1].hash, key, ()):
                raise changed(path, f"the rows of {say_cell(key)} are missing")


def _verify_completions(
    connection: sqlite3.Connection, path: Path, events: Sequence[Event], cells: dict[str, _Cell]
) -> None:
    """What was generated for behaviors that are not sensitive; that of others is checked where it is read."""
    apart = {event.name for event in events if event.kind == SENSITIVE}
    expected = {key for key, cell in cells.items() if cell.completions and json.loads(key)[1]["behavior"] not in apart}
    for key, payload, digest in connection.execute("SELECT cell, payload, hash FROM generated"):
        if key not in expected:
            raise changed(path, f"there are completions of {say_cell(key)}, which has none here")
        if digest != cell_hash(events[cells[key].chunk - 1].hash, key, [(0, payload)]):
            raise changed(path, f"the completions of {say_cell(key)} are not what was written")
        expected.remove(key)
    if expected:
        raise changed(path, f"the completions of {say_cell(min(expected))} are missing")


def _say_event(event: Event) -> str:
    return f"event {event.sequence} ({_printable(f'{event.kind} {event.name!r}')})"


def say_cell(key: str) -> str:
    """A cell, as messages name it."""
    return f"the cell {_printable(key)}"


def _printable(text: object) -> str:
    """Text from a file that may hold anything, so that it can be shown."""
    shown = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "�" for c in str(text))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
