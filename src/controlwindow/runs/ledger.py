"""The ledger: every plan, prediction and measured row of a run in one SQLite file.

Records and chunks share one sequence, so the order of events is part of the evidence: a prediction's sequence number
lies below that of the first rollout of its neuron. A chunk's rows are committed in one transaction, after its plan
was; a process killed at any moment leaves whole chunks only. Completions of sensitive behaviors lie in a file of
their own, readable by its owner alone, so that the ledger can be shared.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from controlwindow.cells import Cell, RolloutCell, Rows, cell_from_key, cell_key
from controlwindow.errors import LedgerError

APPLICATION_ID = 0x43574C31
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
                    payload TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE chunk (sequence INTEGER PRIMARY KEY REFERENCES event(sequence), done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE cell (key TEXT PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk(sequence));
CREATE INDEX cell_neuron ON cell (json_extract(key, '$[1].neuron'));
CREATE TABLE row (cell TEXT NOT NULL REFERENCES cell(key), place INTEGER NOT NULL, payload TEXT NOT NULL,
                  PRIMARY KEY (cell, place)) WITHOUT ROWID;
"""


class Chunk(NamedTuple):
    """Cells that run together, as planned."""

    sequence: int
    cells: tuple[Cell, ...]


class Ledger:
    """One run's ledger. Use as a context manager, or call `close`.

    Args:
        path: The file; None keeps everything in memory, for one-off calls.
        create: Make the file; otherwise it must exist.

    Raises:
        LedgerError: Absent, corrupt, foreign, of another version, in use by another process, or the disk is full.
    """

    def __init__(self, path: Path | None = None, *, create: bool = False) -> None:
        self.path = path
        self._lock: int | None = None
        self._completions: sqlite3.Connection | None = None
        if path is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None)
            self._connection.executescript(_SCHEMA)
            return
        if not create and not path.is_file():
            raise LedgerError(
                f"no ledger at {path}", "give a run directory that `controlwindow audit --out` or `window --out` wrote"
            )
        with self._guarded():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            fresh = create and not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if fresh:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID}; "
                    f"PRAGMA user_version={SCHEMA_VERSION}; {_SCHEMA} COMMIT;"
                )
            self._check_identity()
            self._connection.execute("PRAGMA synchronous=FULL")

    def _check_identity(self) -> None:
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise LedgerError(
                f"{self.path} is a database of something else, not a controlwindow ledger",
                "give a run directory that controlwindow wrote, or another --out",
            )
        if version != SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} has ledger version {version}, this controlwindow reads {SCHEMA_VERSION}",
                "resume it with the version that manifest.json names",
            )
        if self._connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise LedgerError(f"{self.path} is damaged", "restore it from a copy, or start the run again elsewhere")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into one error with the repair."""
        where = self.path if self.path is not None else "the in-memory ledger"
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                raise LedgerError(
                    f"cannot write {where}: {text}",
                    "free disk space, then run `controlwindow resume` on the run directory: nothing finished is lost",
                ) from error
            if "locked" in text:
                raise LedgerError(f"{where} is in use by another process", "wait for it to end") from error
            raise LedgerError(f"cannot use {where}: {text}", "check the directory's permissions") from error
        except sqlite3.DatabaseError as error:
            raise LedgerError(
                f"{where} is not a readable ledger: {error}", "restore it from a copy, or start the run again elsewhere"
            ) from error
        except OSError as error:
            hint = "free disk space and try again" if error.errno == errno.ENOSPC else "check the path and permissions"
            raise LedgerError(f"cannot use {where}: {error.strerror}", hint) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def lock(self) -> None:
        """Claim the run for this process, until it ends; readers are not kept out.

        Raises:
            LedgerError: Another process is running it.
        """
        if self.path is None or self._lock is not None:
            return
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise LedgerError(f"another process is running {self.path.parent}", "wait for it, or stop it") from error
        self._lock = handle

    def close(self) -> None:
        """Close the files and give up the claim on the run."""
        self._connection.close()
        if self._completions is not None:
            self._completions.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Records: one JSON document per (kind, name), written once.

    def record(self, kind: str, name: str, payload: Any) -> None:
        """Write one record; it is never changed afterwards."""
        self.record_all([(kind, name, payload)])

    def record_all(self, records: Sequence[tuple[str, str, Any]]) -> None:
        """Write records in one transaction."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO event (kind, name, payload) VALUES (?, ?, ?)",
                [(kind, name, _json(payload)) for kind, name, payload in records],
            )

    def remember(self, kind: str, name: str, compute: Callable[[], Any]) -> Any:
        """A record's payload: what the ledger holds, else what is computed now and recorded before it is used.

        Args:
            kind: Kind of record.
            name: Its name.
            compute: Gives the payload where there is none yet; not called otherwise.

        Returns:
            The payload as it reads from the ledger (tuples are lists, keys are text), so that a run that was cut off
            and resumed goes on from the same values as one that was not.
        """
        if self.sequence(kind, name) is None:
            self.record(kind, name, compute())
        return self.find(kind, name)

    def find(self, kind: str, name: str) -> Any | None:
        """A record's payload, or None."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT payload FROM event WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def find_all(self, kind: str) -> dict[str, Any]:
        """Every record of a kind by name, in the order written."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT name, payload FROM event WHERE kind = ? ORDER BY sequence", (kind,)
            ).fetchall()
        return {name: json.loads(payload) for name, payload in found}

    def sequence(self, kind: str, name: str) -> int | None:
        """Where a record stands in the order of events."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT sequence FROM event WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return None if found is None else int(found[0])

    # Chunks: planned first, then committed whole.

    def plan(self, stage: str, chunks: Sequence[Sequence[Cell]]) -> list[Chunk]:
        """Write the chunks of one round in one transaction, before any of them runs."""
        planned = []
        with self._transaction() as connection:
            for cells in chunks:
                keys = [cell_key(cell) for cell in cells]
                number = connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM event").fetchone()[0]
                cursor = connection.execute(
                    "INSERT INTO event (kind, name, payload) VALUES ('chunk', ?, ?)",
                    (f"{stage}/{number}", _json(keys)),
                )
                sequence = int(cursor.lastrowid or 0)
                connection.execute("INSERT INTO chunk (sequence) VALUES (?)", (sequence,))
                connection.executemany("INSERT INTO cell VALUES (?, ?)", [(key, sequence) for key in keys])
                planned.append(Chunk(sequence, tuple(cells)))
        return planned

    def pending(self, stage: str) -> list[Chunk]:
        """Chunks of a stage that were planned and not committed, in order."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT sequence, payload FROM event JOIN chunk USING (sequence) "
                "WHERE done = 0 AND substr(name, 1, length(?)) = ? ORDER BY sequence",
                (f"{stage}/", f"{stage}/"),
            ).fetchall()
        return [Chunk(number, tuple(map(cell_from_key, json.loads(payload)))) for number, payload in found]

    def commit(self, chunk: Chunk, results: Mapping[Cell, Rows], *, sensitive: bool = False) -> None:
        """Write a chunk's rows and mark it done, in one transaction.

        Args:
            chunk: The chunk.
            results: Rows of every cell; the keys "text" and "token_ids" of a row are its completion.
            sensitive: Completions go to the separate file instead of the ledger.
        """
        entries, completions = [], []
        for cell in chunk.cells:
            key = cell_key(cell)
            for place, row in enumerate(results[cell]):
                public = dict(row)
                if sensitive:
                    secret = {name: public.pop(name) for name in ("text", "token_ids") if name in public}
                    completions.append((key, place, _json(secret)))
                entries.append((key, place, _json(public)))
        # Completions first: a kill in between leaves the chunk undone, and redoing it writes the same completions.
        if completions:
            with self._guarded():
                store = self._completion_store()
                store.execute("BEGIN IMMEDIATE")
                store.executemany("INSERT OR REPLACE INTO completion VALUES (?, ?, ?)", completions)
                store.execute("COMMIT")
        with self._transaction() as connection:
            connection.executemany("INSERT INTO row VALUES (?, ?, ?)", entries)
            connection.execute("UPDATE chunk SET done = 1 WHERE sequence = ?", (chunk.sequence,))

    def rows(self, cell: Cell) -> Rows | None:
        """A cell's rows, or None while it is not measured."""
        key = cell_key(cell)
        with self._guarded():
            done = self._connection.execute(
                "SELECT done FROM cell JOIN chunk ON chunk = sequence WHERE key = ?", (key,)
            ).fetchone()
            if done is None or not done[0]:
                return None
            found = self._connection.execute("SELECT payload FROM row WHERE cell = ? ORDER BY place", (key,)).fetchall()
        return [json.loads(payload) for (payload,) in found]

    def completions(self, cell: Cell) -> Rows | None:
        """The separately stored completions of a cell's rows; None when the file is not here or is another user's."""
        looked_for = self.path is not None and self._completions is None
        if looked_for and not os.access(self._completion_path(), os.R_OK | os.W_OK):
            return None
        with self._guarded():
            found = (
                self._completion_store()
                .execute("SELECT payload FROM completion WHERE cell = ? ORDER BY place", (cell_key(cell),))
                .fetchall()
            )
        return [json.loads(payload) for (payload,) in found] or None

    def first_rollout(self, neuron: str, behavior: str | None = None) -> int | None:
        """Sequence number of the first chunk planned with rollouts of a neuron, for one behavior or any, or None.

        What counts is what cells say of themselves: whether they roll out, and which neurons they change. So rollouts
        of a pinned neuron count, which the screen `one` makes before candidates are chosen, and those of any later
        kind.
        """
        with self._guarded():
            # The text of a key narrows the search; whether the neuron is one that is changed is the cell's own word.
            found = self._connection.execute(
                "SELECT chunk, key FROM cell WHERE instr(key, ?) ORDER BY chunk", (json.dumps(neuron),)
            ).fetchall()
        for chunk, key in found:
            cell = cell_from_key(key)
            wanted = behavior is None or cell.behavior == behavior
            if wanted and cell.rolls_out and neuron in cell.changed_neurons():
                return int(chunk)
        return None

    def rollout_cells(self, behavior: str, neuron: str) -> list[RolloutCell]:
        """Measured rollout cells of a neuron, in the order planned."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT key FROM cell JOIN chunk ON chunk = sequence WHERE done = 1 "
                "AND json_extract(key, '$[0]') = 'RolloutCell' AND json_extract(key, '$[1].behavior') = ? "
                "AND json_extract(key, '$[1].neuron') = ? ORDER BY chunk, key",
                (behavior, neuron),
            ).fetchall()
        return [cell for (key,) in found if isinstance(cell := cell_from_key(key), RolloutCell)]

    def chunks_done(self) -> int:
        """Number of committed chunks."""
        with self._guarded():
            return int(self._connection.execute("SELECT count(*) FROM chunk WHERE done = 1").fetchone()[0])

    def _completion_path(self) -> Path:
        assert self.path is not None
        return self.path.with_name("completions.sqlite")

    def _completion_store(self) -> sqlite3.Connection:
        if self._completions is None:
            if self.path is None:
                self._completions = sqlite3.connect(":memory:", isolation_level=None)
            else:
                path = self._completion_path()
                # Made with its mode before SQLite writes a byte; the journal files inherit it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                os.chmod(path, 0o600)
                self._completions = sqlite3.connect(path, isolation_level=None, timeout=10)
                self._completions.execute("PRAGMA journal_mode=WAL")
                self._completions.execute("PRAGMA synchronous=FULL")
            self._completions.execute(
                "CREATE TABLE IF NOT EXISTS completion (cell TEXT, place INTEGER, payload TEXT, "
                "PRIMARY KEY (cell, place)) WITHOUT ROWID"
            )
        return self._completions


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
