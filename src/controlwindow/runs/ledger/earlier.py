"""Ledgers of version 1, which carry no hashes: read, and brought to this version when they are gone on with."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import completions, schema
from controlwindow.runs.ledger.files import guarded
from controlwindow.runs.ledger.integrity import COMMIT, SENSITIVE, cell_hash, chunk_hash, event_hash

WITHOUT = "without integrity"
"""Kind of the record that says up to which event nothing was ever held against a hash."""


def brought_up(earlier: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The contents of a ledger of version 1 as one of this version, in memory.

    Events keep their places in the order of events. What stands for committed chunks follows after the last of them,
    and then the record that says that what came before was written without hashes.

    Args:
        earlier: The ledger; closed afterwards.
        path: Its file.

    Raises:
        sqlite3.Error: It cannot be read.
        LedgerError: It is damaged.
    """
    found = sqlite3.connect(":memory:", isolation_level=None)
    schema.create_tables(found)
    try:
        found.execute("BEGIN")
        events = earlier.execute("SELECT sequence, kind, name, payload FROM event ORDER BY sequence").fetchall()
        writer = _Writer(found)
        for event in events:
            if not isinstance(event[3], str):
                raise TypeError("a payload is no text")
            json.loads(event[3])
            writer.write(*event)
        inline: set[str] = set()
        done = dict(earlier.execute("SELECT sequence, done FROM chunk ORDER BY sequence"))
        for sequence, kind, name, payload in events:
            if kind == "chunk":
                keys = json.loads(payload)
                found.execute("INSERT INTO chunk VALUES (?, ?)", (sequence, done[sequence]))
                found.executemany("INSERT INTO cell (key, chunk) VALUES (?, ?)", [(key, sequence) for key in keys])
                if done[sequence]:
                    hashes = [_move_rows(earlier, found, key, writer.hashes[sequence], inline) for key in keys]
                    writer.write(writer.last + 1, COMMIT, name, schema.as_json({"hash": chunk_hash(hashes)}))
        # Where such a behavior's completions lie here nevertheless, they are moved when the run is gone on with.
        for behavior in sorted(_sensitive_behaviors(events) - inline):
            writer.write(writer.last + 1, SENSITIVE, behavior, schema.as_json({"moved": 0}))
        writer.write(writer.last + 1, WITHOUT, WITHOUT, schema.as_json({"events": len(events)}))
        writer.finish()
        found.execute("COMMIT")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"{path} is damaged (a ledger of version 1)", "restore it from a copy, or start the run again elsewhere"
        ) from error
    finally:
        earlier.close()
    return found


class _Writer:
    """Writes events with their hashes, at the places that they had; version 1 left no gaps."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.hashes: dict[int, str] = {}
        self.last = 0
        self._hash = ""

    def write(self, sequence: int, kind: str, name: str, payload: str) -> None:
        if sequence != self.last + 1:
            raise ValueError("an event is missing")
        self._hash = event_hash(self._hash, sequence, kind, name, payload)
        self._connection.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?)", (sequence, kind, name, payload, self._hash)
        )
        self.hashes[sequence], self.last = self._hash, sequence

    def finish(self) -> None:
        self._connection.execute("UPDATE head SET events = ?, hash = ?", (self.last, self._hash))


def _sensitive_behaviors(events: list[tuple[int, str, str, str]]) -> set[str]:
    recorded = [json.loads(payload) for _, kind, _, payload in events if kind == "behavior"]
    return {behavior["name"] for behavior in recorded if behavior.get("sensitive")}


def _move_rows(
    earlier: sqlite3.Connection, found: sqlite3.Connection, key: str, planned: str, inline: set[str]
) -> tuple[int | None, str]:
    """Copy a cell's rows, their completions to a table of their own; behaviors that have any here go to `inline`."""
    rows = [
        json.loads(payload)
        for (payload,) in earlier.execute("SELECT payload FROM row WHERE cell = ? ORDER BY place", (key,))
    ]
    behavior = json.loads(key)[1]["behavior"]
    public, generated = completions.parted(rows)
    entries = list(enumerate(public))
    found.executemany("INSERT INTO row VALUES (?, ?, ?)", [(key, *entry) for entry in entries])
    # Whether others lie apart is not written here.
    has_completions = None
    if generated is not None:
        completions.put(found, planned, key, generated)
        inline.add(behavior)
        has_completions = 1
    digest = cell_hash(planned, key, entries)
    found.execute("UPDATE cell SET completions = ?, hash = ? WHERE key = ?", (has_completions, digest, key))
    return has_completions, digest


def replace(path: Path, connection: sqlite3.Connection) -> None:
    """Put a ledger in memory in the place of a file of version 1, whole or not at all.

    Raises:
        LedgerError: Another process has the file open, or it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    with guarded(path):
        before = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            # A -wal that stayed behind would be taken for one of the new file.
            if before.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "delete":
                raise LedgerError(f"{path} is in use by another process", "wait for it to end")
        finally:
            before.close()
        scratch.unlink(missing_ok=True)
        after = sqlite3.connect(scratch, isolation_level=None)
        try:
            connection.backup(after)
        finally:
            after.close()
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        os.replace(scratch, path)
