"""Changing a ledger as somebody would who computes every hash again: nothing is signed, so its integrity holds.

The hashes are written out here from docs/ledger.md, not taken from the package.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any


def edit(path: Path, statement: str, values: Sequence[Any] = ()) -> int:
    """Run one statement on a ledger, leaving the hashes as they are.

    Returns:
        How many rows of a table it changed.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).rowcount


def forge(path: Path, statement: str, values: Sequence[Any] = ()) -> int:
    """Run one statement on a ledger, then number its events anew and compute every hash."""
    count = edit(path, statement, values)
    completions = path.with_name("completions.sqlite")
    with closing(sqlite3.connect(path)) as connection, connection:
        _hash_again(connection, completions)
    return count


def _hash(*lines: str) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()


def _hash_again(ledger: sqlite3.Connection, completions: Path) -> None:
    events = ledger.execute("SELECT sequence, kind, name, payload FROM event ORDER BY sequence").fetchall()
    places = {before: place for place, (before, *_) in enumerate(events, 1)}
    # Past each other without a collision.
    for table, column in (("event", "sequence"), ("chunk", "sequence"), ("cell", "chunk")):
        ledger.execute(f"UPDATE {table} SET {column} = -{column} - 1000000")
        for before, place in places.items():
            ledger.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (place, -before - 1000000))
    previous, planned = "", {}
    for place, (_, kind, name, payload) in enumerate(events, 1):
        if kind == "commit":
            payload = json.dumps({"hash": _chunk(ledger, *planned[name])}, separators=(",", ":"))
        previous = _hash(previous, str(place), json.dumps([kind, name]), payload)
        ledger.execute("UPDATE event SET payload = ?, hash = ? WHERE sequence = ?", (payload, previous, place))
        if kind == "chunk":
            planned[name] = json.loads(payload), previous
    ledger.execute("UPDATE head SET events = ?, hash = ?", (len(events), previous))
    texts = {key: digest for keys, digest in planned.values() for key in keys}
    _seal(ledger, texts)
    if completions.exists():
        with closing(sqlite3.connect(completions)) as apart, apart:
            _seal(apart, texts)


def _chunk(ledger: sqlite3.Connection, keys: Iterable[str], planned: str) -> str:
    lines = []
    for key in keys:
        rows = ledger.execute("SELECT place, payload FROM row WHERE cell = ? ORDER BY place", (key,))
        digest = _hash(planned, key, *(f"{place} {payload}" for place, payload in rows))
        ledger.execute("UPDATE cell SET hash = ? WHERE key = ?", (digest, key))
        (has_completions,) = ledger.execute("SELECT completions FROM cell WHERE key = ?", (key,)).fetchone()
        lines.append(f"{has_completions} {digest}")
    return _hash(*lines)


def _seal(connection: sqlite3.Connection, planned: dict[str, str]) -> None:
    for key, payload in connection.execute("SELECT cell, payload FROM generated").fetchall():
        digest = _hash(planned[key], key, f"0 {payload}")
        connection.execute("UPDATE generated SET hash = ? WHERE cell = ?", (digest, key))
