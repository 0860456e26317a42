"""What is wrong with a behavior file, in words: the file, the line, the key, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails

from controlwindow.behaviors.oracles import known_oracles
from controlwindow.errors import BehaviorError

#: Most mistakes of one file that are told one by one.
MOST_TOLD = 20

_PART = r"\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+"
_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*((?:{_PART})(?:\s*\.\s*(?:{_PART}))*)\s*=")
# Strings (those of several lines first), comments, brackets and ends of lines.
_TOKEN = re.compile(
    r'"{3}(?:\\.|[^\\])*?"{3}|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]', re.DOTALL
)


def syntax_error(path: Path, source: str, message: str) -> tuple[str, str]:
    """Message and hint for a text that is not TOML, with the line that tomllib's own message names."""
    found = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    line = int(found[1]) if found else source.rstrip("\n").count("\n") + 1
    reason = message[: found.start()] if found else message.replace(" (at end of document)", "")
    return f"{path}, line {line}: not valid TOML: {reason}", "strings need quotes, tables are written [name]"


def schema_error(path: Path, source: str, table: Mapping[str, Any], errors: Sequence[ErrorDetails]) -> BehaviorError:
    """One error that tells every mistake of a file by line and key.

    Args:
        path: The file.
        source: Its text.
        table: What the text holds.
        errors: What pydantic found.
    """
    lines = key_lines(source)
    messages, hints = [], []
    for error in errors:
        keys = _key_path(table, error)
        text = ".".join(map(str, keys)) or "(top level)"
        line = next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), 1)
        message, hint = _explain(error, keys)
        messages.append(f"{path}, line {line}, key '{text}': {message}")
        hints.append(hint)
    # A value that fits no member of a union is reported once for each of them.
    unique = list(dict.fromkeys(messages))
    if len(unique) > MOST_TOLD:
        unique[MOST_TOLD:] = [f"{path}: and {len(unique) - MOST_TOLD} more"]
    return BehaviorError("\n".join(unique), next(filter(None, hints), "every field: controlwindow guide behaviors"))


def _key_path(table: Mapping[str, Any], error: ErrorDetails) -> tuple[str | int, ...]:
    if "key" in error.get("ctx", {}):
        return tuple(str(error["ctx"]["key"]).split("."))
    keys: list[str | int] = []
    here: Any = table
    for part in error["loc"]:
        # The parts of a pydantic location that are not keys of the file name members of a union.
        if isinstance(here, Mapping) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif error["type"] in {"missing", "union_tag_not_found"} and part == error["loc"][-1]:
            keys.append(part)
            break
        else:
            continue
        keys.append(part)
    return tuple(keys)


def _explain(error: ErrorDetails, keys: tuple[str | int, ...]) -> tuple[str, str]:
    kind = error["type"]
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        known = f"known oracles: {', '.join(known_oracles())}"
        return f"unknown oracle '{error['ctx']['tag']}'" if "tag" in error["ctx"] else "an oracle needs a 'type'", known
    if kind == "missing":
        return "is missing", f"add {keys[-1]}"
    if kind == "extra_forbidden":
        return "unknown key", "every field: controlwindow guide behaviors"
    message = error["msg"]
    return message[0].lower() + message[1:], ""


def key_lines(source: str) -> dict[tuple[str | int, ...], int]:
    """Line, counted from 1, on which each key and table header of a valid TOML text stands.

    Example:
        >>> key_lines('a = 1\\n[b.c]\\nd = 2\\n')
        {('a',): 1, ('b',): 2, ('b', 'c'): 2, ('b', 'c', 'd'): 3}
    """
    found: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    header: tuple[str | int, ...] = ()
    inside = _continued_lines(source)
    for number, line in enumerate(source.split("\n"), start=1):
        # What looks like a key inside a multi-line string or list is none.
        if number in inside:
            continue
        is_header, is_key = _HEADER.match(line), _KEY.match(line)
        if is_header:
            header = _split_key(is_header[1])
            if line.lstrip().startswith("[["):
                counts[header] = counts.get(header, -1) + 1
                found.setdefault(header, number)
                header = (*header, counts[header])
            path = header
        elif is_key:
            path = (*header, *_split_key(is_key[1]))
        else:
            continue
        for end in range(1, len(path) + 1):
            found.setdefault(path[:end], number)
    return found


def _split_key(key: str) -> tuple[str | int, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))


def _continued_lines(source: str) -> set[int]:
    """Lines that begin inside a string, a list or an inline table."""
    inside: set[int] = set()
    line, depth = 1, 0
    for token in _TOKEN.finditer(source):
        text = token[0]
        if text in "[{":
            depth += 1
        elif text in "]}":
            depth -= 1
        elif text == "\n":
            line += 1
            if depth:
                inside.add(line)
        else:
            lines = text.count("\n")
            inside.update(range(line + 1, line + lines + 1))
            line += lines
    return inside
