"""Reading what a behavior names: regular files of bounded size, in UTF-8, with errors that name file and line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from controlwindow.errors import BehaviorError

#: Largest behavior file.
LARGEST_DEFINITION = 4 << 20
#: Largest file of prompts; public sets of prompts have some hundred kilobytes.
LARGEST_PROMPTS = 64 << 20


def read_text(path: Path, largest: int, *, absent: str, hint: str) -> str:
    """The text of a file, without a byte order mark; ends of lines stay as they are.

    Args:
        path: The file.
        largest: Most bytes that it may have.
        absent: What is said of a file that does not exist, before its path.
        hint: What to do then.

    Raises:
        BehaviorError: The file is absent, not a regular one, too large, unreadable or not UTF-8.
    """
    data = read_bytes(path, largest, absent=absent, hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        guess = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise BehaviorError(
            f"{path}, line {line}: not UTF-8 (byte {error.start}){guess}", "save the file as UTF-8"
        ) from error


def read_bytes(path: Path, largest: int, *, absent: str, hint: str) -> bytes:
    """The bytes of a regular file; arguments and errors as for `read_text`."""
    check_regular(path, largest, absent=absent, hint=hint)
    try:
        with path.open("rb") as file:
            return file.read(largest)
    except OSError as error:
        raise BehaviorError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error


def safe_text(path: Path, largest: int = LARGEST_PROMPTS) -> str:
    """The text of a file that a user names, for callers with errors of their own.

    Args:
        path: The file.
        largest: Most bytes that it may have.

    Raises:
        ValueError: It is absent, no regular file (a pipe waits for ever, a device never ends), too large or not UTF-8;
            the text says which.
    """
    try:
        return read_text(path, largest, absent="there is no file", hint="")
    except BehaviorError as error:
        raise ValueError(error.message) from error


def check_regular(path: Path, largest: int, *, absent: str, hint: str) -> None:
    """Refuse what is not a regular file of bounded size, without opening it: pipes wait, devices never end.

    Raises:
        BehaviorError: As `read_text`, apart from what opening the file shows.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise BehaviorError(f"{absent} {path}", hint) from error
    except ValueError as error:
        raise BehaviorError(f"{str(path)!r} is not a path: {error}", "write the path of a file") from error
    except OSError as error:
        raise BehaviorError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a device or a socket"
        raise BehaviorError(f"{path} cannot be read: it is {kind}, not a file", "give the path of a regular file")
    if found.st_size > largest:
        raise BehaviorError(
            f"{path} has {found.st_size / 2**20:,.1f} MiB, at most {largest / 2**20:,.0f} MiB are read",
            "take the rows that are needed into a file of their own",
        )


def parse_json(text: str, where: str, hint: str) -> Any:
    """A JSON document.

    Args:
        text: The document.
        where: What errors begin with, a file and perhaps a line.
        hint: What to do about one that is none.

    Raises:
        BehaviorError: It is not JSON, or nested too deep to be read.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BehaviorError(f"{where}: not JSON: {error.msg} at column {error.colno}", hint) from error
    except RecursionError as error:
        raise BehaviorError(f"{where}: JSON nested too deep", hint) from error
    except ValueError as error:
        raise BehaviorError(f"{where}: not JSON: {error}", hint) from error
