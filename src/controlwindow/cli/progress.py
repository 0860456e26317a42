"""What long work says on stderr: bars on a terminal, a line a minute in a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from controlwindow.cli.display import messages
from controlwindow.runs.progress import Stage
from controlwindow.windows.search import WindowSearch

LINE_EVERY = 60.0
"""Seconds between two lines where stderr is no terminal."""


class _Time(ProgressColumn):
    """How long a stage still takes, or took."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"took {clock(task.finished_time)}" if task.fields.get("whole") else "stopped", style="dim")
        return Text(f"{clock(task.time_remaining)} left")


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss; a dash where they are not known.

    Example:
        >>> clock(75), clock(3675), clock(None)
        ('1:15', '1:01:15', '-:--')
    """
    if seconds is None:
        return "-:--"
    text = str(timedelta(seconds=int(seconds)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:") else text


class _Bar(Stage):
    def __init__(self, owner: TerminalProgress) -> None:
        self._owner = owner

    def update(self, done: int, total: int) -> None:
        self._owner.set(done, total)


class TerminalProgress:
    """What, how far, how long still; one bar a stage on a terminal, else a line a minute.

    Args:
        console: Where it is shown; default stderr.
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, console: Console | None = None, now: Any = time.monotonic) -> None:
        self._console = console or messages()
        self._now = now
        wide = self._console.width >= 100
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28 if wide else 12),
            TextColumn("{task.percentage:>3.0f} %"),
            _Time(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            transient=False,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._name, self._begun, self._said = "", 0.0, 0.0
        self._searches: Sequence[WindowSearch] = ()

    def __enter__(self) -> TerminalProgress:
        self._said = self._now()
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> Iterator[Stage]:
        """Begin a stage; with searches, progress is the mean of how far each of them is."""
        self._task = self._progress.add_task(name, total=1.0 if searches else None, note="", whole=False)
        self._name, self._begun, self._searches = name, self._now(), searches
        task = self._task
        try:
            yield _Bar(self)
        except BaseException:
            # What was cut off is not shown as done.
            self._progress.update(task, description=f"{name} [yellow](stopped)[/]")
            self._progress.stop_task(task)
            raise
        else:
            total = self._progress.tasks[task].total or 1.0
            self._progress.update(task, total=total, completed=total, note="", whole=True)
        finally:
            self._task, self._searches = None, ()

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""
        if not self._searches:
            self.set(done, total)

    def tick(self) -> None:
        """A chunk or a round was committed."""
        if self._task is None or not self._searches:
            return
        shares = [search.progress for search in self._searches]
        settled = sum(share >= 1 for share in shares)
        self.set(sum(shares) / len(shares), 1.0, f"{settled} of {len(shares)} settled")

    def set(self, done: float, total: float, note: str = "") -> None:
        """Show how far the running stage is."""
        if self._task is None:
            return
        self._progress.update(self._task, completed=done, total=total, note=note)
        if self._progress.disable and self._now() - self._said >= LINE_EVERY:
            self._said = self._now()
            self._say(done / total if total else 0.0, note)

    def _say(self, share: float, note: str) -> None:
        gone = self._now() - self._begun
        left = clock(gone * (1 - share) / share) if share > 0 else clock(None)
        parts = [f"{self._name}: {share:.0%} after {clock(gone)}", f"{left} left", note]
        self._console.print(Text(", ".join(filter(None, parts))), soft_wrap=True)
