"""What the commands show on stdout: tables, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from controlwindow.values import round_floats

PIPE_WIDTH = 120


def output() -> Console:
    """Standard output; wide enough for tables when it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def messages() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout, floats rounded to 6 digits, and nothing else."""
    sys.stdout.write(json.dumps(round_floats(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def show_result(
    document: Any,
    lines: Iterable[RenderableType],
    directory: Path | None,
    as_json: bool,
    page: str | None = "report.html",
) -> None:
    """Print what a command found: its document, or the lines that a reader is shown and where the page lies."""
    if as_json:
        print_json(document)
        return
    console = output()
    for line in lines:
        console.print(line)
    if directory is not None and page is not None and (directory / page).exists():
        console.print(Text(f"report: {directory / page}"), soft_wrap=True)
