"""Finding the strength at which a method brings the behavior to a given rate, on prompts that are not reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from controlwindow.behaviors.outcomes import COLLAPSED
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import Cell, InterventionCell, Rows
from controlwindow.interventions.methods import Arm, Setting

SCOUTS = 16
"""Select prompts on which the settings of a method are chosen."""

ROUNDS = 5
"""Bisections towards each level."""

TOLERANCE = 0.1
"""A rate further than this from its level is not matched."""


class Reading(NamedTuple):
    """What one strength did.

    Attributes:
        rate: Share of prompts that flip coherently.
        collapsed: Share that collapsed.
        n: Prompts.
    """

    rate: float
    collapsed: float
    n: int


@dataclass(frozen=True)
class Match:
    """The strength that comes nearest to a level.

    Attributes:
        level: The rate that was asked for.
        setting: What the method chose, for all levels together.
        strength: In units.
        rate: The rate there, on the select split.
        n: Prompts it was measured on.
        matched: Whether it is near enough.
        highest: The highest rate that any measured strength reached.
    """

    level: float
    setting: Setting
    strength: float
    rate: float
    n: int
    matched: bool
    highest: float


class MatchingSearch:
    """Chooses a method's settings, then bisects its strength towards each level. A planner.

    The setting is the one with the highest rate at any coarse strength; of equals the one with less collapse there,
    then the one that needs less strength, then the first. Levels are looked for on the way up to the highest rate only:
    a rate that is met again where the text is falling apart is another thing. The rules are ours.

    Args:
        arm: The method.
        behavior: The behavior's name.
        prompts: Ids of the eligible prompts of the select split.
        levels: Rates to be matched, each between 0 and 1.
        horizon: Tokens to generate.
        targets: Outcomes that count as a flip.
        split: The split.
    """

    def __init__(
        self,
        arm: Arm,
        behavior: str,
        prompts: Sequence[str],
        levels: Sequence[float],
        horizon: int,
        targets: frozenset[str],
        split: Split = "select",
    ) -> None:
        self.arm = arm
        self.behavior = behavior
        self.prompts = tuple(prompts)
        self.scouts = self.prompts[:SCOUTS]
        self.levels = tuple(levels)
        self.horizon = horizon
        self.targets = targets
        self.split = split
        self.readings: dict[InterventionCell, Reading] = {}
        self._strengths: dict[InterventionCell, float] = {}
        self._rounds = 0

    def next_cells(self) -> Sequence[InterventionCell]:
        """Coarse strengths of every setting, the whole ladder of the chosen one, then bisections."""
        if missing := self._missing(self._scan()):
            return missing
        if missing := self._missing(self._ladder()):
            return missing
        if self._rounds >= ROUNDS:
            return []
        halves = {self._half_way(level) for level in self.levels} - {None}
        return self._missing([self._cell(self.setting, half, self.prompts) for half in sorted(filter(None, halves))])

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take rollouts."""
        if not self._missing(self._scan()) and not self._missing(self._ladder()):
            self._rounds += 1
        last = str(self.horizon)
        for cell, rows in results.items():
            assert isinstance(cell, InterventionCell)
            outcomes = [row["outcomes"][last] for row in rows]
            self.readings[cell] = Reading(
                sum(outcome in self.targets for outcome in outcomes) / len(outcomes),
                outcomes.count(COLLAPSED) / len(outcomes),
                len(outcomes),
            )

    @property
    def setting(self) -> Setting:
        """The chosen setting."""
        if len(self.arm.settings) == 1:
            return self.arm.settings[0]

        def merit(setting: Setting) -> tuple[float, float, float]:
            cells = [(strength, self._cell(setting, strength, self.scouts)) for strength in self.arm.coarse]
            return max(
                (self.readings[cell].rate, -self.readings[cell].collapsed, -strength) for strength, cell in cells
            )

        return max(self.arm.settings, key=merit)

    def curve(self) -> list[tuple[float, Reading]]:
        """What the chosen setting did at every strength that was measured on all prompts, ascending."""
        setting = self.setting
        chosen = {cell for cell in self.readings if cell.prompts == self.prompts}
        return sorted(
            (self._strengths[cell], self.readings[cell])
            for cell in chosen
            if cell == self._cell(setting, self._strengths[cell], self.prompts)
        )

    def matches(self) -> list[Match]:
        """The strength nearest to each level; of equally near ones the smallest."""
        rising = self._rising()
        highest = max(reading.rate for _, reading in rising)
        found = []
        for level in self.levels:
            strength, reading = min(rising, key=lambda item: (abs(item[1].rate - level), item[0]))
            matched = abs(reading.rate - level) <= TOLERANCE + 1e-9
            found.append(Match(level, self.setting, strength, reading.rate, reading.n, matched, highest))
        return found

    def _rising(self) -> list[tuple[float, Reading]]:
        """The curve up to the first strength with the highest rate."""
        curve = self.curve()
        highest = max(reading.rate for _, reading in curve)
        end = next(place for place, (_, reading) in enumerate(curve) if reading.rate == highest)
        return curve[: end + 1]

    def _half_way(self, level: float) -> float | None:
        """A strength that may lie nearer to a level than those measured; None where none can be much nearer."""
        rising = [(0.0, 0.0), *((strength, reading.rate) for strength, reading in self._rising())]
        if min(abs(rate - level) for _, rate in rising[1:]) <= 0.5 / len(self.prompts):
            return None
        for (low, below), (high, above) in pairwise(rising):
            if below < level <= above:
                return self.arm.between(low, high)
        return None

    def _scan(self) -> list[InterventionCell]:
        if len(self.arm.settings) == 1:
            return []
        return [
            self._cell(setting, strength, self.scouts) for setting in self.arm.settings for strength in self.arm.coarse
        ]

    def _ladder(self) -> list[InterventionCell]:
        return [self._cell(self.setting, strength, self.prompts) for strength in self.arm.ladder]

    def _cell(self, setting: Setting, strength: float, prompts: tuple[str, ...]) -> InterventionCell:
        cell = self.arm.rollouts(self.behavior, self.split, setting, strength, self.horizon, prompts)
        self._strengths.setdefault(cell, strength)
        return cell

    def _missing(self, cells: Sequence[InterventionCell]) -> list[InterventionCell]:
        return [cell for cell in dict.fromkeys(cells) if cell not in self.readings]
