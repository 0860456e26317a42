"""What a search measures next, from the shares it has seen: scan, resolve both thresholds, settle what is shown.

Pure decisions on shares (ours). A dose rests at one of a few numbers of prompts; only doses that could change a
threshold, its interval or the height are promoted, so that most doses never leave the scouts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from controlwindow.statistics import wilson_interval
from controlwindow.windows.scouting import Share

Wanted = dict[float, int]
"""Doses to measure next, and on how many prompts each."""

_SPLIT = 4
"""Most parts into which a bracket is cut at once."""


class _Crossing(NamedTuple):
    """A threshold as far as it is resolved.

    Attributes:
        place: Index of the dose that is, or may be, the first at the level; None when no measured dose may be.
        wanted: What would resolve it further; empty when it is resolved.
    """

    place: int | None
    wanted: Wanted


@dataclass(frozen=True)
class Narrowing:
    """One decision.

    Attributes:
        flips: Share of flips at every measured dose by t, ascending, the undosed model's first.
        collapses: Share of collapsed rollouts, likewise.
        level: Share that makes the trigger.
        collapse_level: Share that makes the ceiling.
        coarse: Doses of the coarse scan, ascending.
        stages: Numbers of prompts at which a dose may rest.
        stride: Doses asked for at once.
        width: Widest bracket in which a threshold may end, in c; None keeps to the coarse doses.
        fill: Whether coarse doses inside an open window are measured in full as well.
        ceiling: Whether the ceiling is resolved as well, and not only as far as the trigger needs.
        coordinate: c at a dose.
        dose: t at a c.
    """

    flips: Mapping[float, Share]
    collapses: Mapping[float, Share]
    level: float
    collapse_level: float
    coarse: tuple[float, ...]
    stages: tuple[int, ...]
    stride: int
    width: float | None
    fill: bool
    ceiling: bool
    coordinate: Callable[[float], float]
    dose: Callable[[float], float]

    def wanted(self) -> Wanted:
        """What is to be measured next; empty when the search is done."""
        waiting = [] if self._certainly_collapsed else [t for t in self.coarse if t > self._doses[-1]]
        if waiting:
            return dict.fromkeys(waiting[: self.stride], self.stages[0])
        ceiling = self._resolve(self.collapses, self.collapse_level, len(self._doses) - 1)
        # Flips beyond the ceiling open nothing.
        trigger = self._resolve(
            self.flips, self.level, len(self._doses) - 1 if ceiling.place is None else ceiling.place
        )
        wanted = dict(ceiling.wanted) if self.ceiling else {}
        for t, prompts in trigger.wanted.items():
            wanted[t] = max(prompts, wanted.get(t, 0))
        return wanted or self._settle(trigger.place, ceiling.place)

    @cached_property
    def _doses(self) -> list[float]:
        return list(self.flips)

    @cached_property
    def _certainly_collapsed(self) -> bool:
        """Whether some dose has collapsed beyond doubt, so that the ceiling's interval is bounded too."""
        shares = self.collapses.values()
        return any(wilson_interval(s.count, s.seen).low >= self.collapse_level for s in shares)

    def _resolve(self, shares: Mapping[float, Share], level: float, end: int) -> _Crossing:
        """Find the first dose at the level, up to index `end`, and measure both ends of its bracket in full."""
        for index in range(1, end + 1):
            share = shares[self._doses[index]]
            if share.clearly_below(level):
                continue
            if not share.reaches(level):
                return _Crossing(index, self._next_stage(index))
            inside = self._between(index)
            if inside:
                return _Crossing(index, inside)
            wanted = self._in_full(index, index - 1)
            return _Crossing(index, wanted or self._bound(shares, level, index, end))
        return _Crossing(None, {})

    def _bound(self, shares: Mapping[float, Share], level: float, index: int, end: int) -> Wanted:
        """Measure doses on both sides of a bracket until the bootstrap hardly crosses one: the interval is bounded."""
        wanted: Wanted = {}
        for place in range(index - 1, 0, -1):
            # The undosed model bounds the interval where no dose does.
            share = shares[self._doses[place]]
            if not share.full:
                wanted |= self._in_full(place)
                break
            if share.surely_below(level):
                break
        for place in range(index, end + 1):
            share = shares[self._doses[place]]
            if share.surely_above(level):
                break
            if not share.full and share.reaches(level):
                wanted |= self._in_full(place)
                break
        return wanted

    def _settle(self, trigger: int | None, ceiling: int | None) -> Wanted:
        """With both thresholds resolved: the end of the range, the best dose, and what lies between coarse doses."""
        last = len(self._doses) - 1
        if ceiling is None and (wanted := self._in_full(last)):
            return wanted
        best = self._best()
        promising = self.flips[self._doses[best]].value >= self.level / 2
        if (trigger is not None or promising) and (wanted := self._in_full(best)):
            return wanted
        if trigger is None and promising and self.width is not None:
            # A window narrower than a coarse step shows as a high share that stays below the level.
            wanted = {}
            for index in (best, best + 1):
                if 0 < index <= last:
                    wanted |= self._between(index, 2)
            return wanted
        if trigger is not None and self.fill:
            inside = range(trigger, last if ceiling is None else ceiling)
            return self._in_full(*(index for index in inside if self._doses[index] in self.coarse))
        return {}

    def _best(self) -> int:
        """The dose of the largest share of flips; of several alike, one measured in full or else the middle one."""
        shares = list(self.flips.values())
        largest = max(share.shrunk for share in shares)
        alike = [index for index, share in enumerate(shares) if share.shrunk == largest]
        full = [index for index in alike if shares[index].full]
        return full[0] if full else alike[len(alike) // 2]

    def _next_stage(self, index: int) -> Wanted:
        t = self._doses[index]
        return {t: next(size for size in self.stages if size > self.flips[t].seen)}

    def _in_full(self, *indices: int) -> Wanted:
        doses = [self._doses[index] for index in indices]
        return {t: self.stages[-1] for t in doses if not self.flips[t].full}

    def _between(self, upper: int, widths: int = 1) -> Wanted:
        """New doses, equally spaced in c, inside the bracket that ends at index `upper`; none when narrow enough.

        One dose halves the bracket; where few searches share a batch, it is cut to its final width at once.
        """
        if self.width is None:
            return {}
        low, high = (self.coordinate(self._doses[index]) for index in (upper - 1, upper))
        parts, width = 1, widths * self.width
        while high - low > parts * width and parts < (_SPLIT if self.stride > 1 else 2):
            parts *= 2
        inside = (round(self.dose(low + (high - low) * part / parts), 6) for part in range(1, parts))
        # Near |c0| = 1 a rounded dose can be one already measured; asking for it again would never end.
        return {t: self.stages[0] for t in inside if t not in self.flips}
