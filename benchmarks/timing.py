"""Timing: contenders take turns, so that whatever drifts on the machine hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.contenders import Contender

SLOW_SECONDS = 150.0
"""A contender that has been timed for this long in all drops out of further rounds; its repeats are reported."""


@dataclass(frozen=True)
class Timing:
    """How long a contender took.

    Attributes:
        name: Its key.
        title: What tables call it.
        seconds: Every repeat, in order.
    """

    name: str
    title: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over repeats."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """Fastest repeat."""
        return min(self.seconds)


class Ratio(NamedTuple):
    """A ratio of two timings: of their medians, and its range over the rounds that both took part in."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(numerator: Timing, *denominators: Timing) -> Ratio:
    """How many times longer one took than others together, round by round."""
    whole = sum(timing.median for timing in denominators)
    rounds = [
        above / sum(below) for above, *below in zip(numerator.seconds, *(d.seconds for d in denominators), strict=False)
    ]
    return Ratio(numerator.median / whole, min(rounds), max(rounds))


class Aim(NamedTuple):
    """What a ratio should be."""

    kind: Literal["at least", "at most"]
    value: float

    def met(self, value: float) -> bool:
        """Whether a ratio is as it should be."""
        return value >= self.value if self.kind == "at least" else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.value:g}"


def take_turns(
    contenders: Sequence[Contender], repeats: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Timing]:
    """Time contenders in turns (A B C, A B C, …).

    Args:
        contenders: They have done the job before, so nothing is loaded or chosen any more.
        repeats: Rounds.
        tell: Told what is being timed.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(repeats):
        for contender in contenders:
            if sum(seconds[contender.name]) < SLOW_SECONDS:
                tell(f"{contender.title}, repeat {turn + 1} of {repeats}")
                seconds[contender.name].append(contender.run().seconds)
    return {c.name: Timing(c.name, c.title, tuple(seconds[c.name])) for c in contenders}
