"""Ledgers of finished runs, damaged: flipped bits, cuts, and edits as somebody makes them who wants another number."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from torture.children import command_line, complaint, run_child

LIMIT = 60.0
"""Seconds after which a command that reads a run counts as hung; drawing figures takes some."""
FILES = ("ledger.sqlite", "completions.sqlite")
TABLES = {
    "ledger.sqlite": {
        "event": ("sequence", "kind", "name", "payload", "hash"), "row": ("place", "payload", "cell"),
        "cell": ("key", "chunk", "completions", "hash"), "chunk": ("sequence", "done"), "head": ("events", "hash"),
        "generated": ("cell", "payload", "hash"),
    },
    "completions.sqlite": {"generated": ("cell", "payload", "hash")},
}  # fmt: skip


def spoil(directory: Path, generator: random.Random) -> str:
    """Damage a run's ledger or its completions in one way.

    Returns:
        What was done, in words.
    """
    name = generator.choice([file for file in (*FILES[:1] * 4, FILES[1]) if (directory / file).exists()])
    way = generator.choice([_flip, _flip, _cut, _overwrite, _edit, _edit, _edit, _delete, _swap])
    return f"{name}: {way(directory / name, generator)}"


def check_spoiled(
    run: Path, outputs: dict[str, str], scratch: Path, generator: random.Random, limit: float = LIMIT
) -> str | None:
    """Damage a copy of a finished run and read it.

    Args:
        run: The run.
        outputs: What `read_run` gave for it.
        scratch: Where the copy is made; removed afterwards.
        generator: Chooses the damage.
        limit: Seconds after which a command counts as hung.

    Returns:
        What is wrong, or None where every command gave one error or what it gave before.
    """
    shutil.copytree(run, scratch)
    try:
        done = spoil(scratch, generator)
        for words, expected in outputs.items():
            ended = run_child(command_line(*_words(words, scratch)), limit=limit)
            said = complaint(ended)
            if said is None and ended.code == 0 and _shown(words, scratch, ended.out) != expected:
                said = "other results"
            if said is not None:
                return f"{done}: {words}: {said}"
    finally:
        shutil.rmtree(scratch)
    return None


def read_run(run: Path) -> dict[str, str]:
    """What commands show of a run; a page that is another one every time is not among it.

    Raises:
        RuntimeError: A command failed.
    """
    found: list[dict[str, str]] = []
    for _ in range(2):
        shown = {}
        for words in ("results --json", "report --include-completions", "report"):
            ended = run_child(command_line(*_words(words, run)), limit=600)
            if ended.code:
                raise RuntimeError(f"{words}: {ended.err}")
            shown[words] = _shown(words, run, ended.out)
        found.append(shown)
    return {words: text for words, text in found[0].items() if found[1][words] == text}


def _words(words: str, run: Path) -> list[str]:
    command, *options = words.split()
    return [command, str(run), *options]


def _shown(words: str, run: Path, out: str) -> str:
    return (run / "report.html").read_text("utf-8") if words.startswith("report") else out


def _flip(path: Path, generator: random.Random) -> str:
    content = bytearray(path.read_bytes())
    places = [generator.randrange(len(content)) for _ in range(generator.choice([1, 1, 1, 3, 16]))]
    for place in places:
        content[place] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return f"bits flipped at {places}"


def _cut(path: Path, generator: random.Random) -> str:
    content = path.read_bytes()
    length = generator.choice([generator.randrange(len(content)), len(content) // 4096 // 2 * 4096, 0, 99])
    path.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def _overwrite(path: Path, generator: random.Random) -> str:
    content = bytearray(path.read_bytes())
    begin, length = generator.randrange(len(content)), generator.choice([8, 512, 4096])
    content[begin : begin + length] = generator.randbytes(min(length, len(content) - begin))
    path.write_bytes(content)
    return f"{length} bytes at {begin} overwritten"


def _edit(path: Path, generator: random.Random) -> str:
    """One digit, one letter or the end of one value."""

    def changed(text: str) -> str:
        digits = [match.start() for match in re.finditer(r"\d", text)]
        way = generator.choice(["digit", "digit", "cut", "letter", "nothing"])
        if way == "digit" and digits:
            place = generator.choice(digits)
            return f"{text[:place]}{(int(text[place]) + generator.randint(1, 9)) % 10}{text[place + 1 :]}"
        if way == "cut":
            return text[: generator.randrange(len(text) or 1)]
        if way == "letter" and text:
            place = generator.randrange(len(text))
            return f"{text[:place]}{chr(generator.choice([0, 27, 34, 120, 0x202E, 0x1F600]))}{text[place + 1 :]}"
        return ""

    with closing(sqlite3.connect(path)) as connection, connection:
        table = generator.choice(list(TABLES[path.name]))
        column = generator.choice(TABLES[path.name][table])
        number, value = _pick(connection, table, column, generator)
        new = changed(str(value))
        try:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {_key(table)} = ?", (new, number))
        except sqlite3.Error as error:
            return f"{table}.{column} kept as it is ({error})"
        return f"{table}.{column} of {number}: {str(value)[:60]!r} became {new[:60]!r}"


def _delete(path: Path, generator: random.Random) -> str:
    with closing(sqlite3.connect(path)) as connection, connection:
        table = generator.choice(list(TABLES[path.name]))
        number, _ = _pick(connection, table, TABLES[path.name][table][0], generator)
        connection.execute(f"DELETE FROM {table} WHERE {_key(table)} = ?", (number,))
        return f"{number} deleted from {table}"


def _swap(path: Path, generator: random.Random) -> str:
    """The payloads of two lines of a table."""
    with closing(sqlite3.connect(path)) as connection, connection:
        table = generator.choice([name for name, columns in TABLES[path.name].items() if "payload" in columns])
        picked = [_pick(connection, table, "payload", generator) for _ in range(2)]
        for (number, _), (_, payload) in zip(picked, reversed(picked), strict=True):
            connection.execute(f"UPDATE {table} SET payload = ? WHERE {_key(table)} = ?", (payload, number))
        return f"payloads of {picked[0][0]} and {picked[1][0]} in {table} exchanged"


def _key(table: str) -> str:
    return "cell || ' ' || place" if table == "row" else "rowid"


def _pick(connection: sqlite3.Connection, table: str, column: str, generator: random.Random) -> tuple[object, object]:
    rows = connection.execute(f"SELECT {_key(table)}, {column} FROM {table} ORDER BY 1").fetchall()
    return generator.choice(rows) if rows else (None, "")
