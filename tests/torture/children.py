"""Work in a process of its own that ends in time or is killed, forked so that libraries are imported once."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        code: Exit code; minus the signal where one ended it.
        out: Standard output.
        err: Standard error.
        seconds: How long it ran.
        hung: Whether it had to be killed because its time was up.
    """

    code: int
    out: str
    err: str
    seconds: float
    hung: bool


def run_child(work: Callable[[], None], *, limit: float, kill_after: float | None = None) -> Ended:
    """Run work in a forked child.

    Args:
        work: What it does; its exit code is 0, that of a SystemExit, or 1 with a traceback.
        limit: Seconds after which it counts as hung and is killed.
        kill_after: Seconds after which it is killed on purpose, if it still runs.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        begun = time.monotonic()
        child = os.fork()
        if not child:
            _be_child(work, out.fileno(), err.fileno())
        until = limit if kill_after is None else min(limit, kill_after)
        status = _wait(child, begun + until)
        hung = status is None and (kill_after is None or kill_after > limit)
        if status is None:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        seconds = time.monotonic() - begun
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return Ended(os.waitstatus_to_exitcode(status), *texts, seconds, hung)


def command_line(*words: object) -> Callable[[], None]:
    """The command line as work."""

    def work() -> None:
        from controlwindow.cli import main

        sys.argv = ["controlwindow", *map(str, words)]
        main()

    return work


def complaint(ended: Ended) -> str | None:
    """What is wrong with how a command ended: anything but success, or one error with its repair."""
    if ended.hung:
        return f"hung for {ended.seconds:.0f} s"
    if "Traceback" in ended.err:
        return f"a traceback: {ended.err.strip().splitlines()[-1]}"
    if ended.code == 0:
        return None
    if ended.code != 2 or ended.err.count("error: ") != 1:
        return f"exit code {ended.code}: {ended.err.strip()[-300:]}"
    return None


def leftovers(directory: Path) -> list[str]:
    """Files that were written halfway."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.part"))


def _be_child(work: Callable[[], None], out: int, err: int) -> None:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, until: float) -> int | None:
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.005)
    return None
