"""What the commands show: progress on a terminal's stderr, tables or one JSON document on stdout."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from controlwindow.runs.progress import Stage
from controlwindow.text import encodable, printable
from controlwindow.values import round_floats
from controlwindow.windows.search import WindowSearch

PIPE_WIDTH = 120


class SafeConsole(Console):
    """A console on which no text of others acts, and that writes what its encoding lacks in other words."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`, with every text made printable."""
        for segment in super().render(renderable, options):
            yield (
                segment if segment.control else segment._replace(text=encodable(printable(segment.text), self.encoding))
            )


def output() -> Console:
    """Standard output; wide enough for tables when it is neither a terminal nor told its width."""
    given = sys.stdout.isatty() or "COLUMNS" in os.environ
    return SafeConsole(width=None if given else PIPE_WIDTH, highlight=False, soft_wrap=False)


def messages() -> Console:
    """Standard error."""
    return SafeConsole(stderr=True, highlight=False)


def forgive_encodings() -> None:
    """Let no stream fail on a character that its encoding lacks, whoever writes to it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(document: Any) -> None:
    """One JSON document on stdout, floats rounded to 6 digits, and nothing else."""
    unicode = (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    text = json.dumps(round_floats(document), indent=1, ensure_ascii=not unicode, allow_nan=False)
    sys.stdout.write(text + "\n")


def show_result(
    document: Any, lines: Iterable[RenderableType], directory: Path | None, as_json: bool, page: str = "report.html"
) -> None:
    """Print what a command found: its document, or the lines that a reader is shown and where the page lies."""
    if as_json:
        print_json(document)
        return
    console = output()
    for line in lines:
        console.print(line)
    if directory is not None and (directory / page).exists():
        console.print(Text(f"report: {directory / page}"), soft_wrap=True)


class _Bar(Stage):
    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


class TerminalProgress:
    """What, how far, how long still; one line a stage. Shows nothing where stderr is not a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or messages()
        # Fits 80 columns; the time a stage took is shown where there is room for it.
        wide = self._console.width >= 100
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28 if wide else 12),
            TextColumn("{task.percentage:>3.0f} %"),
            *([TimeElapsedColumn()] if wide else []),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            transient=False,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._searches: Sequence[WindowSearch] = ()

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> Iterator[Stage]:
        """Begin a stage; with searches, progress is the mean of how far each of them is."""
        task = self._progress.add_task(name, total=1.0 if searches else None, note="")
        self._task, self._searches = task, searches
        try:
            yield _Bar(self._progress, task)
        finally:
            total = self._progress.tasks[task].total or 1.0
            self._progress.update(task, total=total, completed=total, note="")
            self._task, self._searches = None, ()

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""
        if self._task is not None and not self._searches:
            self._progress.update(self._task, completed=done, total=total)

    def tick(self) -> None:
        """A chunk or a round was committed."""
        if self._progress.disable or self._task is None or not self._searches:
            return
        shares = [search.progress for search in self._searches]
        settled = sum(share >= 1 for share in shares)
        self._progress.update(
            self._task,
            completed=sum(shares) / len(shares),
            note=f"{settled} of {len(shares)} settled",
        )
