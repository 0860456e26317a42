"""Scouts: a random part of the prompts that a dose is tried on before it is measured on all of them.

A dose is measured on the prompts in one seeded random order, a few at first (the scouts), then more, then all. What a
part has shown bounds what the whole can show: were the share of all prompts at the level, the number seen among the
part would be hypergeometric. A dose is set aside as *clearly below* the level only where that number, or a smaller
one, had a probability of at most `MISS`. The bound holds for any response, because the order is drawn at random and
has nothing to do with the prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from controlwindow.behaviors.prompts import Split
from controlwindow.statistics import stable_seed

SCOUTS = 8
"""Prompts a dose is tried on first. Fewer cost less a dose and send more doses on: eight need fewest rows in all."""

MISS = 0.005
"""Largest probability with which a dose whose share reaches the level may be set aside after its scouts.

With 8 scouts of 40 prompts only a dose at which no scout flips is set aside at once: one at a level of a half with
probability 0.0016, one at 60 % with 0.0002. With the second look at 16 prompts, 0.3 % of 6,000 synthetic neurons that
are at the level at one dose and nowhere else were missed, and 0.07 % of 6,000 with a share of 55 %.
"""

STRAY = 0.01
"""Largest tail of the bootstrap over prompts that a dose which bounds an interval may leave on its other side.

An interval end is a 2.5 % quantile of the bootstrap's brackets. A dose where half of the prompts are reached in more
than 2.5 % of the replicates does not bound it: were the search to stop there, the end would fall back to the next dose
measured in full, which may be the undosed model. The margin below 2.5 % leaves room for doses further down.
"""


@dataclass(frozen=True)
class Share:
    """How many of the prompts seen so far show an event at a dose.

    Attributes:
        count: Prompts that show it.
        seen: Prompts measured.
        total: Prompts in all.

    Example:
        >>> Share(0, 8, 40).clearly_below(0.5), Share(2, 8, 40).clearly_below(0.5), Share(19, 40, 40).clearly_below(0.5)
        (True, False, True)
    """

    count: int
    seen: int
    total: int

    @property
    def full(self) -> bool:
        """Whether every prompt was measured."""
        return self.seen == self.total

    @property
    def value(self) -> float:
        """The share among those seen."""
        return self.count / self.seen

    @property
    def shrunk(self) -> float:
        """The share drawn towards a half by one prompt of each kind, so that small samples do not win by luck."""
        return (self.count + 1) / (self.seen + 2)

    def reaches(self, level: float) -> bool:
        """Whether the share among those seen is at or above the level."""
        return self.value >= level

    def clearly_below(self, level: float) -> bool:
        """Whether the share of all prompts lies below the level: known when full, else with an error up to `MISS`."""
        if self.full:
            return not self.reaches(level)
        return _chance_of_so_few(self.count, self.seen, self.total, level) <= MISS

    def surely_below(self, level: float) -> bool:
        """Whether a bootstrap of a share measured in full hardly ever reaches the level (`STRAY`)."""
        return self.full and resampled_at_level(self.count, self.seen, level) < STRAY

    def surely_above(self, level: float) -> bool:
        """Whether a bootstrap of a share measured in full hardly ever stays below the level (`STRAY`)."""
        return self.full and 1 - resampled_at_level(self.count, self.seen, level) < STRAY


@lru_cache(maxsize=4096)
def resampled_at_level(count: int, total: int, level: float) -> float:
    """Chance that as many prompts, drawn again with replacement, show a share at the level: a binomial tail.

    Example:
        >>> round(resampled_at_level(4, 16, 0.5), 4), round(resampled_at_level(3, 16, 0.5), 4)
        (0.0271, 0.0046)
    """
    return float(stats.binom.sf(_needed(total, level) - 1, total, count / total))


@lru_cache(maxsize=4096)
def _chance_of_so_few(count: int, seen: int, total: int, level: float) -> float:
    """Probability of at most `count` events among `seen` of `total` prompts when the share just reaches the level."""
    return float(stats.hypergeom.cdf(count, total, _needed(total, level), seen))


def _needed(total: int, level: float) -> int:
    """How many of all prompts make the level."""
    # 1e-9: a level times a number of prompts may lie a rounding error above the whole number it stands for.
    return math.ceil(level * total - 1e-9)


def scouting_order(prompts: tuple[str, ...], behavior: str, split: Split) -> tuple[str, ...]:
    """The prompts in the order in which every dose is measured on them: random, and the same for every neuron.

    One order for all neurons lets their rows share the work on the prompts.
    """
    generator = np.random.default_rng(stable_seed("scouts", behavior, split, len(prompts)))
    return tuple(prompts[int(place)] for place in generator.permutation(len(prompts)))


def stages(prompts: int, scouts: int) -> tuple[int, ...]:
    """Numbers of prompts at which a dose may rest: the scouts, twice as many, all. Steps too small to pay are left out.

    Example:
        >>> stages(40, 8), stages(16, 8), stages(10, 8)
        ((8, 16, 40), (8, 16), (10,))
    """
    rests = [size for size in (scouts, 2 * scouts) if size * 4 <= prompts * 3]
    return (*rests, prompts)
