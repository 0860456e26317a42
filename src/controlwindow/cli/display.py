"""What the commands show on stdout: tables, or one JSON document."""

from __future__ import annotations

import io
import json
import os
import sys
import webbrowser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from controlwindow.errors import UsageError
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
    opened: bool = False,
) -> None:
    """Print what a command found: its document, or the lines that a reader is shown and where the page lies.

    Args:
        document: What --json prints.
        lines: What a reader is shown.
        directory: The run directory, if there is one.
        as_json: Whether the document is printed.
        page: Name of the page in the directory, if the run has one.
        name: What the document is (`enveloped`).
        opened: Whether the page is opened in the browser.
    """
    written = None if directory is None or page is None else directory / page
    if opened and written is not None:
        open_page(written)
    if as_json:
        print_json(document, name)
        return
    console = output()
    for line in lines:
        console.print(line)
    if written is not None:
        say_page(written)


def say_page(path: Path, before: str = "report: ") -> None:
    """Say where a page lies, as a link where the terminal has links."""
    if path.exists():
        console = output()
        style = f"link {path.resolve().as_uri()}" if console.is_terminal else ""
        console.print(Text.assemble(before, (str(path), style)), soft_wrap=True)


def check_open(opened: bool, out: Path | None) -> None:
    """Refuse to open a page of a run that keeps none, before anything is measured.

    Raises:
        UsageError: --open without --out.
    """
    if opened and out is None:
        raise UsageError("there is no report to open: nothing is kept without --out", "add --out DIR")


def open_page(path: Path) -> None:
    """Open a page in the user's browser; where there is none, say so and go on: the page is written."""
    if path.exists() and not webbrowser.open(path.resolve().as_uri()):
        messages().print(Text(f"no browser could be opened; the report is {path}", style="yellow"), soft_wrap=True)
