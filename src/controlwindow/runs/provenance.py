"""When a run was at work, for how long, by which command, and whether its ledger was ever held against hashes.

Results are the same whenever they are measured, so nothing of this is in them: pages and the manifest show it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from controlwindow.runs.command import noted_command
from controlwindow.runs.ledger import Ledger
from controlwindow.secrecy import shareable_command

BEGUN, ENDED = "work begun", "work ended"
"""Kinds of records, one of each for every process that worked on a run to the end."""

PYTHON = "called from Python"
"""What stands for a command where there was none."""

UNVERIFIED = (
    "Some or all of this ledger was written by a version that kept no hashes: whether that part was changed since is "
    "not known."
)

_LEAST = 15 * 60
"""Seconds below which the duration of work is not told where neurons are withheld."""


class Work(NamedTuple):
    """What a run's ledgers say of the work on them.

    Attributes:
        begun: When the first process began, in ISO form; None for runs that did not note it.
        ended: When the last one ended; None while none came to its end.
        seconds: How long those that ended were at work, together.
        parts: How many processes worked on it.
        cut: How many of them did not come to an end.
        command: The words of the command that began it; None for a call from Python.
        verified: Whether all of it was held against hashes.
    """

    begun: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    parts: int = 0
    cut: int = 0
    command: tuple[str, ...] | None = None
    verified: bool = True

    def rows(self, *, hide: bool) -> list[tuple[str, str]]:
        """Lines of a page's provenance; where neurons are withheld, nothing from which one follows.

        Args:
            hide: Whether neurons are withheld: then only the day, a rough duration, and a command without names,
                screens, sizes and seeds.
        """
        found = [] if self.verified else [("integrity", UNVERIFIED)]
        if self.begun is None:
            return found
        day = self.begun[:10] if hide else f"{self.begun[:16].replace('T', ' ')} UTC"
        command = PYTHON if self.command is None else shlex.join(shareable_command(self.command, hide=hide))
        return [("begun", day), ("time at work", self._duration(hide)), ("command", command), *found]

    def record(self, *, hide: bool) -> dict[str, Any]:
        """The same for the manifest."""
        return {
            "begun": self.begun[:10] if self.begun is not None and hide else self.begun,
            "ended": self.ended[:10] if self.ended is not None and hide else self.ended,
            "time": None if self.begun is None else self._duration(hide),
            "command": None if self.command is None else shlex.join(shareable_command(self.command, hide=hide)),
            "verified": self.verified,
        }

    def _duration(self, hide: bool) -> str:
        if self.ended is None:
            return "unfinished"
        words = duration(self.seconds)
        if hide:
            words = "less than 15 min" if self.seconds < _LEAST else f"about {duration(_roughly(self.seconds))}"
        if self.cut and not hide:
            words += f", and what {self.cut} cut off before that {'was' if self.cut == 1 else 'were'}"
        return words


NO_WORK = Work()
"""Nothing is known."""

Made = Sequence[tuple[str, str]]
"""Lines of a page's provenance."""


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> duration(42), duration(754), duration(7500)
        ('42 s', '12 min 34 s', '2 h 5 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _roughly(seconds: float) -> int:
    return max(1, round(seconds / _LEAST)) * _LEAST


@contextmanager
def at_work(ledger: Ledger) -> Iterator[None]:
    """Note in a ledger when work on it begins and, if nothing stops it, when it ends."""
    command, begun = noted_command(), time.monotonic()
    number = str(len(ledger.find_all(BEGUN)) + 1)
    ledger.record(BEGUN, number, {"at": _now(), "command": None if command is None else list(command)})
    yield
    ledger.record(ENDED, number, {"at": _now(), "seconds": round(time.monotonic() - begun, 1)})


def work_of(*ledgers: Ledger) -> Work:
    """What ledgers of one run say of the work on them."""
    begun = [record for ledger in ledgers for record in ledger.find_all(BEGUN).values()]
    ended = [record for ledger in ledgers for record in ledger.find_all(ENDED).values()]
    verified = not any(ledger.without_integrity for ledger in ledgers)
    if not begun:
        return Work(verified=verified)
    first = min(begun, key=lambda record: record["at"])
    return Work(
        first["at"],
        max((record["at"] for record in ended), default=None),
        sum(record["seconds"] for record in ended),
        len(begun),
        len(begun) - len(ended),
        None if first["command"] is None else tuple(first["command"]),
        verified,
    )


def work_in(directory: Path, name: str = "ledger.sqlite") -> Work:
    """What a run directory says of the work in it, whether it has one ledger or one for each model.

    Raises:
        LedgerError: A ledger cannot be read.
    """
    paths = [directory / name] if (directory / name).is_file() else sorted(directory.glob(f"*/{name}"))
    found = []
    for path in paths:
        with Ledger(path) as ledger:
            found.append(work_of(ledger))
    known = [work for work in found if work.begun is not None]
    verified = all(work.verified for work in found)
    if not known:
        return Work(verified=verified)
    first = min(known, key=lambda work: work.begun or "")
    ended = [work.ended for work in known]
    return Work(
        first.begun,
        None if None in ended else max(time for time in ended if time is not None),
        sum(work.seconds for work in known),
        sum(work.parts for work in known),
        sum(work.cut for work in known),
        first.command,
        verified,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
