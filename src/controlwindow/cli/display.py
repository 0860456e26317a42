"""What the commands show on stdout: tables, or one JSON document."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from controlwindow.text import encodable, printable
from controlwindow.values import round_floats

PIPE_WIDTH = 120


class SafeConsole(Console):
    """A console on which no text of others acts, and that writes what its encoding lacks in other words."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`, with every text made printable."""
        for segment in super().render(renderable, options):
            yield (
                segment
                if segment.control
                else segment._replace(text=encodable(printable(segment.text, keep="\n\t"), self.encoding))
            )


def output() -> Console:
    """Standard output; wide enough for tables when it is neither a terminal nor told its width."""
    given = sys.stdout.isatty() or "COLUMNS" in os.environ
    return SafeConsole(width=None if given else PIPE_WIDTH, highlight=False, soft_wrap=False)


def messages() -> Console:
    """Standard error."""
    return SafeConsole(stderr=True, highlight=False)


def say_directory(directory: Path | None, *, asked: bool = True) -> None:
    """Name a run's directory before its work, so that what is interrupted can be gone on with.

    Args:
        directory: The directory; None where nothing is kept.
        asked: Whether the user named it; then a pipe or a log knows it already.
    """
    console = messages()
    if directory is not None and (console.is_terminal or not asked):
        console.print(Text(f"run directory: {directory}", style="dim"), soft_wrap=True)


def forgive_encodings() -> None:
    """Let no stream fail on a character that its encoding lacks, whoever writes to it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


SCHEMA_VERSION = 1
"""Version of every document's shape; a key that goes or changes its meaning raises it, a new key does not."""


def enveloped(document: Any, name: str) -> dict[str, Any]:
    """A document that says what it is: an object keeps its keys and gains `schema`, an array becomes its `rows`.

    Args:
        document: Plain values.
        name: What the document is, as docs/json.md lists it.

    Example:
        >>> enveloped([{"rank": 1}], "screen")
        {'schema': 'controlwindow/screen/1', 'rows': [{'rank': 1}]}
    """
    content = document if isinstance(document, Mapping) else {"rows": document}
    return {"schema": f"controlwindow/{name}/{SCHEMA_VERSION}", **content}


def print_json(document: Any, name: str) -> None:
    """One JSON document on stdout in its envelope, floats rounded to 6 digits, and nothing else."""
    document = enveloped(document, name)
    unicode = (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    text = json.dumps(round_floats(document), indent=1, ensure_ascii=not unicode, allow_nan=False)
    sys.stdout.write(text + "\n")


def show_result(
    document: Any,
    lines: Iterable[RenderableType],
    directory: Path | None,
    as_json: bool,
    page: str | None = "report.html",
    *,
    name: str,
) -> None:
    """Print what a command found: its document, or the lines that a reader is shown and where the page lies."""
    if as_json:
        print_json(document, name)
        return
    console = output()
    for line in lines:
        console.print(line)
    if directory is not None and page is not None and (directory / page).exists():
        console.print(Text(f"report: {directory / page}"), soft_wrap=True)
