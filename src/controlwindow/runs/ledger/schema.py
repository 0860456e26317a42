"""Tables of a ledger, and what tells a ledger from another database."""

from __future__ import annotations

import json
import math
import sqlite3
from functools import cache
from typing import Any

from controlwindow.errors import LedgerError

APPLICATION_ID = 0x43574C31
SCHEMA_VERSION = 2
EARLIER_VERSION = 1
"""The version without hashes, which is still read (`earlier.py`)."""

COMPLETIONS = """
CREATE TABLE generated (cell TEXT PRIMARY KEY, payload TEXT NOT NULL, hash TEXT NOT NULL);
"""
"""What was generated for a cell, one entry a row of it: in the ledger, or in a file apart for sensitive behaviors."""

SCHEMA = f"""
CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
                    payload TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE head (events INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TABLE chunk (sequence INTEGER PRIMARY KEY REFERENCES event(sequence), done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE cell (key TEXT PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk(sequence),
                   completions INTEGER, hash TEXT);
CREATE INDEX cell_neuron ON cell (json_extract(key, '$[1].neuron'));
CREATE TABLE row (cell TEXT NOT NULL REFERENCES cell(key), place INTEGER NOT NULL, payload TEXT NOT NULL,
                  PRIMARY KEY (cell, place)) WITHOUT ROWID;
{COMPLETIONS}
INSERT INTO head VALUES (0, '');
"""

EARLIER_SCHEMA = """
CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
                    payload TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE chunk (sequence INTEGER PRIMARY KEY REFERENCES event(sequence), done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE cell (key TEXT PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk(sequence));
CREATE INDEX cell_neuron ON cell (json_extract(key, '$[1].neuron'));
CREATE TABLE row (cell TEXT NOT NULL REFERENCES cell(key), place INTEGER NOT NULL, payload TEXT NOT NULL,
                  PRIMARY KEY (cell, place)) WITHOUT ROWID;
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty database a ledger, in one transaction; one that has tables is left as it is."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked inside the transaction: two processes may begin one run at the same moment.
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def tables_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Names and definitions of the tables and indexes of a database."""
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


@cache
def tables_in(schema: str) -> list[tuple[str, str]]:
    """Names and definitions that a schema gives."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        return tables_of(connection)
    finally:
        connection.close()


def _not_finite(value: Any, place: str = "") -> str | None:
    """Where in nested values the first number lies that is not finite, such as `rows.3.score is nan`."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place or 'it'} is {value}"
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (_not_finite(item, f"{place}.{key}".lstrip(".")) for key, item in inner)
    return next((said for said in found if said is not None), None)


def as_json(value: Any) -> str:
    """The compact JSON text that payloads are written as.

    Raises:
        LedgerError: It holds a number that is not finite.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise LedgerError(
            f"a value to be written down is not a finite number ({_not_finite(value)})",
            "report this with the command and its output; what was measured before it is kept",
        ) from error
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8; escaped, it is kept as it is.
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text
