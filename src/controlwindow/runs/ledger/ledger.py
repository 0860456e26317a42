"""The ledger: records written once, chunks planned before they run, rows committed with the whole chunk or not at all.

Records and chunks share one sequence, so the order of events is part of the evidence: a prediction's sequence number
lies below that of the first rollout of its neuron. A chunk's rows are committed in one transaction, after its plan
was; a process killed at any moment leaves whole chunks only. Every event's hash covers the events before it, and what
is read has been held against them. Completions of sensitive behaviors lie in a file of their own, readable by its
owner alone, so that the ledger can be shared.
"""

from __future__ import annotations

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
from controlwindow.runs.ledger import completions, earlier, files, integrity, schema
from controlwindow.runs.ledger.schema import as_json


class Chunk(NamedTuple):
    """Cells that run together, as planned."""

    sequence: int
    cells: tuple[Cell, ...]


class Ledger:
    """One run's ledger. Use as a context manager, or call `close`.

    Opening it holds all that it says against its hashes. Where its directory cannot be written it can be read.

    Args:
        path: The file; None keeps everything in memory, for one-off calls.
        create: Make the file; otherwise it must exist.

    Raises:
        LedgerError: Absent, corrupt, changed, foreign, of another version, in use by another process, or the disk is
            full.
    """

    def __init__(self, path: Path | None = None, *, create: bool = False) -> None:
        self.path = path
        self._lock: int | None = None
        self._apart = completions.CompletionStore(path)
        self._wrote = False
        self._from_earlier = False
        if path is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None)
            schema.create_tables(self._connection)
            return
        self._connection, version = files.open_ledger(path, create=create)
        try:
            with files.guarded(path):
                if version == schema.EARLIER_VERSION:
                    self._connection, self._from_earlier = earlier.brought_up(self._connection, path), True
                else:
                    integrity.verify(self._connection, path)
        except BaseException:
            self._connection.close()
            raise

    @property
    def without_integrity(self) -> bool:
        """Whether some or all of it was written by a version that kept no hashes, so that changes are not seen."""
        return bool(self.find_all(earlier.WITHOUT))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with files.guarded(self.path):
            self._require_writable()
            if not self._wrote:
                files.set_journal(self._connection)
                self._wrote = True
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _require_writable(self) -> None:
        if self.path is None:
            return
        if not files.may_write(self.path):
            raise LedgerError(
                f"{self.path.parent} cannot be written", "copy the run directory to a place where you may write"
            )
        if self._from_earlier:
            earlier.replace(self.path, self._connection)
            self._connection.close()
            self._connection, _ = files.open_ledger(self.path, create=False)
            self._from_earlier = False

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
        files.close(self._connection, None if self._from_earlier else self.path)
        self._apart.close()
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
            for kind, name, payload in records:
                _append(connection, kind, name, payload)

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
        with files.guarded(self.path):
            found = self._connection.execute(
                "SELECT payload FROM event WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def find_all(self, kind: str) -> dict[str, Any]:
        """Every record of a kind by name, in the order written."""
        with files.guarded(self.path):
            found = self._connection.execute(
                "SELECT name, payload FROM event WHERE kind = ? ORDER BY sequence", (kind,)
            ).fetchall()
        return {name: json.loads(payload) for name, payload in found}

    def sequence(self, kind: str, name: str) -> int | None:
        """Where a record stands in the order of events."""
        with files.guarded(self.path):
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
                number = connection.execute("SELECT events + 1 FROM head").fetchone()[0]
                sequence = _append(connection, "chunk", f"{stage}/{number}", keys)
                connection.execute("INSERT INTO chunk (sequence) VALUES (?)", (sequence,))
                connection.executemany("INSERT INTO cell (key, chunk) VALUES (?, ?)", [(key, sequence) for key in keys])
                planned.append(Chunk(sequence, tuple(cells)))
        return planned

    def pending(self, stage: str) -> list[Chunk]:
        """Chunks of a stage that were planned and not committed, in order."""
        with files.guarded(self.path):
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
            sensitive: Completions of its behaviors go to the separate file instead of the ledger, from now on and those
                that were written before.

        Raises:
            LedgerError: It cannot be written, or was never planned or is done already.
        """
        if sensitive:
            for behavior in dict.fromkeys(cell.behavior for cell in chunk.cells):
                self.keep_apart(behavior)
        name, planned = self._planned(chunk.sequence)
        parts = [(cell, cell_key(cell), *completions.parted(results[cell])) for cell in chunk.cells]
        apart = {key: text for cell, key, _, text in parts if text and self.is_sensitive(cell.behavior)}
        # Completions first: a kill in between leaves the chunk undone, and redoing it writes the same completions.
        if apart:
            with self._apart.writing() as store:
                for key, secret in apart.items():
                    completions.put(store, planned, key, secret)
        with self._transaction() as connection:
            written = []
            for _, key, rows, text in parts:
                entries = list(enumerate(rows))
                connection.executemany("INSERT INTO row VALUES (?, ?, ?)", [(key, *entry) for entry in entries])
                if text and key not in apart:
                    completions.put(connection, planned, key, text)
                written.append((int(text is not None), integrity.cell_hash(planned, key, entries)))
                connection.execute("UPDATE cell SET completions = ?, hash = ? WHERE key = ?", (*written[-1], key))
            connection.execute("UPDATE chunk SET done = 1 WHERE sequence = ?", (chunk.sequence,))
            _append(connection, integrity.COMMIT, name, {"hash": integrity.chunk_hash(written)})

    def _planned(self, sequence: int) -> tuple[str, str]:
        """Name and hash of the event that planned a chunk."""
        with files.guarded(self.path):
            found = self._connection.execute("SELECT name, hash FROM event WHERE sequence = ?", (sequence,)).fetchone()
        return found[0], found[1]

    def is_sensitive(self, behavior: str) -> bool:
        """Whether a behavior's completions lie apart."""
        return self.sequence(integrity.SENSITIVE, behavior) is not None

    def keep_apart(self, behavior: str) -> None:
        """Have a behavior's completions in the file apart: those to come, and those that lie in the ledger.

        Raises:
            LedgerError: One of the files cannot be written.
        """
        if self.is_sensitive(behavior):
            return
        with files.guarded(self.path):
            here = self._connection.execute(
                "SELECT key, event.hash, generated.payload FROM generated JOIN cell ON key = generated.cell "
                "JOIN event ON sequence = chunk WHERE json_extract(key, '$[1].behavior') = ?",
                (behavior,),
            ).fetchall()
        # Written there before it is removed here: a kill in between leaves both, and doing it again removes these.
        if here:
            with self._apart.writing() as store:
                for key, planned, text in here:
                    completions.put(store, planned, key, text)
        with self._transaction() as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.executemany("DELETE FROM generated WHERE cell = ?", [(key,) for key, *_ in here])
            _append(connection, integrity.SENSITIVE, behavior, {"moved": len(here)})
        if here:
            with files.guarded(self.path):
                # What was deleted is overwritten in the file, but may still lie in its -wal.
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rows(self, cell: Cell) -> Rows | None:
        """A cell's rows, or None while it is not measured."""
        key = cell_key(cell)
        with files.guarded(self.path):
            done = self._connection.execute(
                "SELECT done FROM cell JOIN chunk ON chunk = sequence WHERE key = ?", (key,)
            ).fetchone()
            if done is None or not done[0]:
                return None
            found = self._connection.execute("SELECT payload FROM row WHERE cell = ? ORDER BY place", (key,)).fetchall()
            generated = completions.get(self._connection, key)
        rows = [json.loads(payload) for (payload,) in found]
        if generated is None:
            return rows
        return [{**row, **text} for row, text in zip(rows, json.loads(generated.payload), strict=True)]

    def completions(self, cell: Cell) -> Rows | None:
        """The separately stored completions of a cell's rows; None when the file is not here or is another user's.

        Raises:
            LedgerError: They are not what was written.
        """
        if self.path is not None and not self._apart.at_hand():
            return None
        with files.guarded(self.path):
            found = self._connection.execute(
                "SELECT hash, completions FROM (SELECT chunk, completions FROM cell WHERE key = ?) "
                "JOIN (SELECT sequence, hash FROM event) ON chunk = sequence",
                (cell_key(cell),),
            ).fetchone()
        if found is None or not self.is_sensitive(cell.behavior):
            return None
        return self._apart.read(cell_key(cell), found[0], known=bool(found[1]))

    def first_rollout(self, neuron: str, behavior: str | None = None) -> int | None:
        """Sequence number of the first chunk planned with rollouts of a neuron, for one behavior or any, or None.

        What counts is what cells say of themselves: whether they roll out, and which neurons they change. So rollouts
        of a pinned neuron count, which the screen `one` makes before candidates are chosen, and those of any later
        kind.
        """
        with files.guarded(self.path):
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
        with files.guarded(self.path):
            found = self._connection.execute(
                "SELECT key FROM cell JOIN chunk ON chunk = sequence WHERE done = 1 "
                "AND json_extract(key, '$[0]') = 'RolloutCell' AND json_extract(key, '$[1].behavior') = ? "
                "AND json_extract(key, '$[1].neuron') = ? ORDER BY chunk, key",
                (behavior, neuron),
            ).fetchall()
        return [cell for (key,) in found if isinstance(cell := cell_from_key(key), RolloutCell)]

    def chunks_done(self) -> int:
        """Number of committed chunks."""
        with files.guarded(self.path):
            return int(self._connection.execute("SELECT count(*) FROM chunk WHERE done = 1").fetchone()[0])


def _append(connection: sqlite3.Connection, kind: str, name: str, payload: Any) -> int:
    """Write the next event, inside a transaction.

    Returns:
        Its place in the order of events.
    """
    count, previous = connection.execute("SELECT events, hash FROM head").fetchone()
    sequence, text = int(count) + 1, as_json(payload)
    digest = integrity.event_hash(previous, sequence, kind, name, text)
    connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?)", (sequence, kind, name, text, digest))
    connection.execute("UPDATE head SET events = ?, hash = ?", (sequence, digest))
    return sequence
