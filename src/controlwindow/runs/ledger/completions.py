"""What was generated: in the ledger, and for sensitive behaviors in a file of its own that only its owner may read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from controlwindow.runs.ledger.files import check_structure, close, connect, guarded, make_file, may_write, set_journal
from controlwindow.runs.ledger.integrity import cell_hash, changed, say_cell
from controlwindow.runs.ledger.schema import COMPLETIONS, as_json

FIELDS = ("text", "token_ids")
"""Keys of a row that are its completion."""
_MODE = 0o600
_TABLES = COMPLETIONS.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")


class Generated(NamedTuple):
    """What was generated for a cell.

    Attributes:
        payload: JSON text of the list.
        hash: What stands beside it.
    """

    payload: str
    hash: str


def parted(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str | None]:
    """JSON texts of rows without their completions, and of the list of completions; None where no row has one."""
    public = [{name: value for name, value in row.items() if name not in FIELDS} for row in rows]
    generated = [{name: row[name] for name in FIELDS if name in row} for row in rows]
    return [as_json(row) for row in public], as_json(generated) if any(generated) else None


def put(connection: sqlite3.Connection, planned: str, key: str, payload: str) -> None:
    """Write what was generated for a cell with its hash, inside a transaction.

    Args:
        connection: The ledger, or the file apart.
        planned: Hash of the event that planned the cell's chunk.
        key: The cell's key.
        payload: JSON text of the list.
    """
    connection.execute(
        "INSERT OR REPLACE INTO generated VALUES (?, ?, ?)", (key, payload, cell_hash(planned, key, [(0, payload)]))
    )


def get(connection: sqlite3.Connection, key: str) -> Generated | None:
    """What was generated for a cell, if it is here."""
    found = connection.execute("SELECT payload, hash FROM generated WHERE cell = ?", (key,)).fetchone()
    return None if found is None else Generated(*found)


def check(path: Path | None, key: str, found: Generated | None, planned: str) -> None:
    """Hold what was generated for a cell against its hash.

    Raises:
        LedgerError: It is missing or not what was written.
    """
    if found is None:
        raise changed(path, f"the completions of {say_cell(key)} are missing")
    if found.hash != cell_hash(planned, key, [(0, found.payload)]):
        raise changed(path, f"the completions of {say_cell(key)} are not what was written")


class CompletionStore:
    """The file beside the ledger that holds completions of sensitive behaviors.

    Args:
        ledger: Path of the ledger; None keeps them in memory.
    """

    def __init__(self, ledger: Path | None) -> None:
        self.path = None if ledger is None else ledger.with_name("completions.sqlite")
        self._connection: sqlite3.Connection | None = None
        self._wrote = False

    def at_hand(self) -> bool:
        """Whether there are any that this user may read."""
        return self._connection is not None or (self.path is not None and os.access(self.path, os.R_OK))

    def read(self, key: str, planned: str, *, known: bool) -> list[dict[str, Any]] | None:
        """A cell's completions, one a row; None where there are none at hand.

        Args:
            key: The cell's key.
            planned: Hash of the event that planned its chunk.
            known: Whether the ledger says that there are some; otherwise they may come from a version without hashes.

        Raises:
            LedgerError: They are not what was written, or the file is damaged.
        """
        if not self.at_hand():
            return None
        with guarded(self.path):
            found = get(self._open(), key)
            if known:
                check(self.path, key, found, planned)
            return _earlier(self._open(), key) if found is None else json.loads(found.payload)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction.

        Raises:
            LedgerError: The file cannot be written.
        """
        with guarded(self.path):
            store = self._open()
            if not self._wrote:
                set_journal(store)
                self._wrote = True
            store.execute("BEGIN IMMEDIATE")
            try:
                yield store
                store.execute("COMMIT")
            except BaseException:
                if store.in_transaction:
                    store.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            close(self._connection, self.path)
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.path is None:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
                self._connection.executescript(_TABLES)
                return self._connection
            if not self.path.exists():
                make_file(self.path, _MODE)
            writable = may_write(self.path)
            if writable:
                os.chmod(self.path, _MODE)
            connection = connect(self.path)
            try:
                check_structure(connection, self.path)
                if writable:
                    connection.executescript(_TABLES)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _earlier(connection: sqlite3.Connection, key: str) -> list[dict[str, Any]] | None:
    """A cell's completions as version 1 wrote them, one a row and without a hash."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'completion'").fetchone():
        return None
    found = connection.execute("SELECT payload FROM completion WHERE cell = ? ORDER BY place", (key,)).fetchall()
    return [json.loads(payload) for (payload,) in found] or None
