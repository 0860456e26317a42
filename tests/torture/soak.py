"""A soak: one process measures run after run, and its memory levels off."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from torture.children import command_line, run_child

LIMIT = 4 * 3600.0
"""Seconds after which it counts as hung."""
GROWTH = 0.03
"""Share by which memory may grow from the middle third of the rounds to the last."""
LEAST = 6
"""Rounds below which nothing can be said."""


def resident_mebibytes() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def levels_off(memory: Sequence[float]) -> str | None:
    """What is wrong with a series of measurements, or None where the last third lies no higher than the middle one."""
    if len(memory) < LEAST:
        return f"{len(memory)} rounds are too few"
    third = len(memory) // 3
    middle, last = statistics.median(memory[third : 2 * third]), statistics.median(memory[2 * third :])
    if last > middle * (1 + GROWTH):
        return f"memory grows: {middle:.0f} MiB in the middle third, {last:.0f} MiB in the last"
    return None


def soak(words: Sequence[list[str]], rounds: int, directory: Path) -> Iterator[float | str]:
    """Measure runs one after the other in one process.

    Args:
        words: What begins them, without their directory; they take turns.
        rounds: How many.
        directory: Where they are run.

    Yields:
        MiB after each round, or what went wrong.
    """
    noted = directory / "memory"
    noted.touch()

    def work() -> None:
        for number in range(rounds):
            try:
                command_line(*words[number % len(words)], "--out", directory / "soak", "--json")()
            except SystemExit as stop:
                # The command line ends so; only an error ends the soak.
                if stop.code:
                    raise
            shutil.rmtree(directory / "soak")
            with noted.open("a") as file:
                file.write(f"{resident_mebibytes():.1f}\n")

    ended = run_child(work, limit=LIMIT)
    memory = list(map(float, noted.read_text().split()))
    yield from memory
    if ended.hung or ended.code or len(memory) < rounds:
        yield f"it ended with {ended.code}: {ended.err.strip()[-300:]}"
