"""Opening a ledger's files: writable or not, whole or lacking their latest pages; one error for each way to fail."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import schema

_log = logging.getLogger(__name__)

_DIRECTORY_MODE = 0o755
_WAITS = 30.0
"""Seconds for which another process's transaction is waited for; readers hold theirs while they check hashes."""
_WAL_MARK = b"\x02\x02"
"""Bytes 18 and 19 of a file whose latest pages may lie in a `-wal` beside it (SQLite file format, 1.3.3)."""


@contextmanager
def guarded(path: Path | None) -> Iterator[None]:
    """Turn SQLite's and the system's errors into one error with the repair.

    Raises:
        LedgerError: In place of any of them.
    """
    where = path if path is not None else "the in-memory ledger"
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
        if "malformed" in text or "UTF-8" in text or "no such" in text:
            raise LedgerError(f"{where} is damaged: {text}", _RESTORE) from error
        raise LedgerError(f"cannot use {where}: {text}", "check the directory's permissions") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{where} is not a readable ledger: {error}", _RESTORE) from error
    except OSError as error:
        hint = "free disk space and try again" if error.errno == errno.ENOSPC else "check the path and permissions"
        raise LedgerError(f"cannot use {where}: {error.strerror}", hint) from error


_RESTORE = "restore it from a copy, or start the run again elsewhere"


def make_directory(path: Path) -> None:
    """Make a directory and those above it that are missing; others may read them and never write, whatever the umask.

    Raises:
        OSError: It cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)


def make_file(path: Path, mode: int) -> None:
    """Make an empty file with a mode, before SQLite writes a byte; its journal gets the same mode.

    Raises:
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))


def may_write(path: Path) -> bool:
    """Whether a database file and the directory, in which its journal is put, can be written."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def connect(path: Path) -> sqlite3.Connection:
    """Connect to an existing file; where it cannot be written, so that reading needs no write.

    Raises:
        LedgerError: Its latest pages lie in a `-wal` that would have to be written to be read.
        sqlite3.Error: It is no database.
    """
    address = path.absolute().as_uri()
    if may_write(path):
        return sqlite3.connect(f"{address}?mode=rw", uri=True, isolation_level=None, timeout=_WAITS)
    pages = _pages(path)
    if pages.exists() and pages.stat().st_size:
        raise LedgerError(
            f"{path} was cut off with its latest pages in {pages.name}, and its directory cannot be written",
            "copy the run directory to a place where you may write, and read it there",
        )
    mode = "immutable=1" if _has_wal_mark(path) else "mode=ro"
    return sqlite3.connect(f"{address}?{mode}", uri=True, isolation_level=None, timeout=_WAITS)


def set_journal(connection: sqlite3.Connection) -> None:
    """Prepare for writing: what is committed is durable."""
    # One flush for each commit instead of three. While another process reads, the mode stays as it is, which works too.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def close(connection: sqlite3.Connection, path: Path | None) -> None:
    """Close a connection; the last one leaves a single whole file, which can be copied, and read where none can write.

    Args:
        connection: The connection.
        path: Its file, if it is one of ours that is on disk.
    """
    try:
        if path is not None and may_write(path):
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error:
        # Another process uses it, and will do this when it is the last.
        pass
    finally:
        connection.close()


def open_ledger(path: Path, *, create: bool) -> tuple[sqlite3.Connection, int]:
    """Open a ledger's file.

    Args:
        path: The file.
        create: Make it where it is absent.

    Returns:
        The connection, and the version of its tables.

    Raises:
        LedgerError: Absent, corrupt, foreign, of another version, or it cannot be read.
    """
    if not create and not path.is_file():
        raise LedgerError(
            f"no ledger at {path}", "give a run directory that `controlwindow audit --out` or `window --out` wrote"
        )
    with guarded(path):
        if create:
            make_directory(path.parent)
            make_file(path, 0o644)
        elif not path.stat().st_size:
            raise LedgerError(
                f"{path} is empty: the run ended before its plan was written",
                "nothing was measured; start it again with the command that began it",
            )
        connection = connect(path)
        try:
            if create:
                schema.create_tables(connection)
            # Before anything is read, which would make an empty -wal.
            alone = _has_wal_mark(path) and not _pages(path).exists()
            version = _version(connection, path)
            if alone and version == schema.SCHEMA_VERSION:
                _log.warning(
                    "%s was not closed and no %s is beside it: if it was copied without, its latest events are missing",
                    path,
                    _pages(path).name,
                )
            return connection, version
        except BaseException:
            connection.close()
            raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Version of the tables.

    Raises:
        LedgerError: They are not those of a ledger, or the file is damaged.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = schema.tables_of(connection)
    if application != schema.APPLICATION_ID:
        if not tables and _has_wal_mark(path):
            raise LedgerError(
                f"{path} holds nothing: its pages lay in {_pages(path).name}, which is not beside it",
                f"copy {_pages(path).name} too, or start the run again with the command that began it",
            )
        raise LedgerError(
            f"{path} is a database of something else, not a controlwindow ledger",
            "give a run directory that controlwindow wrote, or another --out",
        )
    known = {schema.SCHEMA_VERSION: schema.SCHEMA, schema.EARLIER_VERSION: schema.EARLIER_SCHEMA}
    if version not in known:
        raise LedgerError(
            f"{path} has ledger version {version}, this controlwindow reads {schema.SCHEMA_VERSION}",
            "resume it with the version that manifest.json names",
        )
    if tables != schema.tables_in(known[version]):
        raise LedgerError(f"{path} is damaged: its tables are not those of ledger version {version}", _RESTORE)
    check_structure(connection, path)
    return version


def check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Have SQLite check its own structures.

    Raises:
        LedgerError: They are damaged.
    """
    # Not the quick check: it passes over indexes that lost an entry, through which a record would seem absent.
    if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise LedgerError(f"{path} is damaged", _RESTORE)


def _pages(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _has_wal_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20)[18:] == _WAL_MARK
