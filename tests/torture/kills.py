"""`kill -9` of every kind of run at random moments and at every kind of write; gone on with, results are equal."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torture.children import Ended, command_line, complaint, leftovers, run_child

LIMIT = 1800.0
"""Seconds after which a whole run counts as hung."""
RESUMED = ("audit", "circuit", "probe", "comparison")
"""Kinds that `resume` goes on with; the others are gone on with by the command that began them."""
POINTS = ("record", "plan", "commit", "replace")
"""What a run is killed at: a record, planned chunks, a committed chunk, a file put in place."""


class Whole(NamedTuple):
    """A run that was not cut off.

    Attributes:
        kind: The kind of run.
        words: What begins it, without its directory.
        out: The document that it prints.
        seconds: How long it took.
        counts: How often it came past each point.
    """

    kind: str
    words: list[str]
    out: str
    seconds: float
    counts: dict[str, int]


class Kill(NamedTuple):
    """When a run is killed: after some seconds, or before or after it comes past a point for the nth time."""

    seconds: float | None = None
    point: str | None = None
    number: int = 0
    after: bool = False


def whole_run(kind: str, words: list[str], directory: Path) -> Whole:
    """Run a kind to its end, counting points.

    Args:
        kind: The kind of run.
        words: What begins it, without its directory.
        directory: Where it is run.

    Raises:
        RuntimeError: It failed.
    """
    tally = directory.with_suffix(".tally")
    ended = run_child(passing(command_line(*words, "--out", directory, "--json"), Tally(tally)), limit=LIMIT)
    if ended.code:
        raise RuntimeError(f"{kind} failed: {ended.err}")
    passed = tally.read_text().split()
    return Whole(kind, words, ended.out, ended.seconds, {point: passed.count(point) for point in POINTS})


def random_kill(whole: Whole, generator: random.Random) -> Kill:
    """A random moment, or a random one of a run's points."""
    point = generator.choice([None, *(point for point, count in whole.counts.items() if count)])
    if point is None:
        return Kill(seconds=generator.uniform(0.0, whole.seconds))
    return Kill(None, point, generator.randint(1, whole.counts[point]), generator.random() < 0.5)


def kill_and_go_on(whole: Whole, kill: Kill, directory: Path) -> str | None:
    """Kill a run, go on with it, and hold its results against those of the whole one.

    Args:
        whole: The run that was not cut off.
        kill: When it is killed.
        directory: Where it is run.

    Returns:
        What is wrong, or None.
    """
    begin = command_line(*whole.words, "--out", directory, "--json")
    cut = run_child(passing(begin, Killer(kill)), limit=LIMIT, kill_after=kill.seconds)
    if cut.code == 0:
        return _compare(whole, cut, directory)
    if cut.code != -signal.SIGKILL:
        return f"it was not killed: {complaint(cut)}"
    if whole.kind in RESUMED and directory.is_dir():
        resumed = run_child(command_line("resume", directory, "--json"), limit=LIMIT)
        if resumed.code == 0:
            return _compare(whole, resumed, directory)
        # Cut off before its plan was written, there is nothing to go on with; that is said, and it is begun again.
        if said := complaint(resumed):
            return said
        if _has_plan(directory):
            return f"it is not gone on with: {resumed.err.strip()}"
    return _compare(whole, run_child(begin, limit=LIMIT), directory)


def _compare(whole: Whole, ended: Ended, directory: Path) -> str | None:
    if ended.code:
        return complaint(ended) or f"an error: {ended.err.strip()}"
    if ended.out != whole.out:
        return "its results are others"
    if left := leftovers(directory):
        return f"left behind: {', '.join(left)}"
    return None


def _has_plan(directory: Path) -> bool:
    from controlwindow.errors import LedgerError
    from controlwindow.runs.ledger import Ledger

    try:
        with Ledger(directory / "ledger.sqlite") as ledger:
            return bool(ledger.find_all("plan"))
    except LedgerError:
        return False


class Tally:
    """Notes every point passed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, point: str, after: bool) -> None:
        if after:
            with self._path.open("a") as file:
                file.write(f"{point}\n")


class Killer:
    """Ends its process at a point."""

    def __init__(self, kill: Kill) -> None:
        self._kill, self._passed = kill, 0

    def __call__(self, point: str, after: bool) -> None:
        if point == self._kill.point and after == self._kill.after:
            self._passed += 1
            if self._passed == self._kill.number:
                os.kill(os.getpid(), signal.SIGKILL)


def passing(work: Callable[[], None], passed: Callable[[str, bool], None]) -> Callable[[], None]:
    """Work that tells of every point before and after it is passed."""

    def told() -> None:
        from controlwindow.runs.ledger import Ledger

        for owner, name, point in (
            (Ledger, "record_all", "record"),
            (Ledger, "plan", "plan"),
            (Ledger, "commit", "commit"),
            (os, "replace", "replace"),
            (Path, "replace", "replace"),
        ):
            setattr(owner, name, _telling(getattr(owner, name), point, passed))
        work()

    return told


def _telling(call: Callable[..., Any], point: str, passed: Callable[[str, bool], None]) -> Callable[..., Any]:
    def telling(*arguments: Any, **options: Any) -> Any:
        passed(point, False)
        result = call(*arguments, **options)
        passed(point, True)
        return result

    return telling


def random_kills(wholes: list[Whole], first: int, count: int, seed: int) -> Iterator[tuple[Whole, Kill]]:
    """Kills of all kinds in turn, from the number `first` on; each follows from its number and the seed."""
    for number in range(first, count):
        whole = wholes[number % len(wholes)]
        yield whole, random_kill(whole, random.Random(f"{seed} {number}"))
