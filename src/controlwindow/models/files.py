"""Reading what a folder or a file brings, without trusting it: regular files of bounded size, JSON of bounded depth."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

from controlwindow.errors import ModelError
from controlwindow.text import one_line, printable

MEBIBYTE = 1 << 20

_LIMITS = {
    "config.json": 16 * MEBIBYTE,
    "generation_config.json": 4 * MEBIBYTE,
    "adapter_config.json": 4 * MEBIBYTE,
    "model.safetensors.index.json": 64 * MEBIBYTE,
}
"""Most bytes of files that are read whole into Python; far above what public checkpoints hold."""

_OTHERS = 512 * MEBIBYTE
"""Most bytes of any other JSON, text or template file; the largest public tokenizers have 40 MiB."""

_DEEPEST = 64
"""Most levels of a JSON document."""

_RESTORE = "restore the file from the model's source"


def check_path(text: str) -> None:
    """Refuse a path that no file system has.

    Raises:
        ModelError: It is empty, too long, holds a NUL or another control character, or may not be looked at.
    """
    if not text or printable(text) != text:
        raise ModelError(
            f"{text!r} is not a path or a name: it is empty or holds control characters"[:300],
            "give organism:NAME, a directory, a .gguf file, or a hub id like owner/name",
        )
    try:
        Path(text).exists()
    except OSError as error:
        raise ModelError(
            f"{text[:200]!r} cannot be looked at: {one_line(error.strerror or error, 100)}",
            "give a path that exists and that you may read",
        ) from error


def check_regular(path: Path) -> int:
    """Size of a file in bytes; links are followed, as caches of the model hub are made of them.

    Raises:
        ModelError: It is absent, no regular file (a pipe, a device, a directory), or larger than such a file may be.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {one_line(error, 200)}", _RESTORE) from error
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{path} is not a regular file", "give a folder of ordinary files, as save_pretrained writes")
    limit = _LIMITS.get(path.name, math.inf if path.suffix in (".safetensors", ".gguf") else _OTHERS)
    if found.st_size > limit:
        raise ModelError(f"{path} has {found.st_size:,} bytes; no more than {limit:,} are read", _RESTORE)
    return found.st_size


def check_folder(directory: Path) -> None:
    """Refuse a folder that holds something else than files and folders: a loader would wait on a pipe for ever.

    Raises:
        ModelError: An entry is neither, or is larger than such a file may be, or the folder cannot be read.
    """
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise ModelError(f"cannot read {directory}: {one_line(error, 200)}", "give a readable directory") from error
    for entry in entries:
        # A dangling link is as good as no file.
        if entry.exists() and not entry.is_dir():
            check_regular(entry)


def read_json(path: Path) -> Any:
    """A JSON document of a checkpoint.

    Raises:
        ModelError: It is no regular file, too large, not UTF-8, not JSON, nested too deep, or holds a number that is
            none (NaN, Infinity, or beyond what a float holds).
    """
    check_regular(path)
    try:
        found = json.loads(path.read_text("utf-8"), parse_constant=_no_number, parse_float=_finite)
        _check_depth(found)
    except (ValueError, RecursionError, OSError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else one_line(error, 200)
        raise ModelError(f"{path} is not valid JSON: {reason}", _RESTORE) from error
    return found


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint.

    Raises:
        ModelError: As `read_json`, or the document is no object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelError(f"cannot load {path.parent}: {path.name} holds no JSON object", _RESTORE)
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond what a number can be")
    return value


def _check_depth(document: Any) -> None:
    """Raise RecursionError for what is nested deeper than anything that walks through it would survive."""
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return
    raise RecursionError
