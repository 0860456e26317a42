"""The search for one neuron's trigger and ceiling on one branch: an ascending coarse scan, then bisection.

A planner: it asks for doses and reads outcomes, and knows nothing of models. Many searches run in lockstep, so that
different neurons of different layers share batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controlwindow import geometry
from controlwindow.curves import Curve
from controlwindow.instruments.cells import Cell, RolloutCell, Rows, Site
from controlwindow.statistics import wilson_interval
from controlwindow.windows.thresholds import Bools, Floats, first_bracket

COARSE_COORDINATES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, geometry.RANGE_END)
"""The coarse scan's doses as control coordinates at c0 = 0; every neuron gets the same t, so that doses compare."""

RESOLUTION = 0.03
"""Width in c to which a bracket is refined. Bisection of a coarse step ends at 0.025."""

COLLAPSE_LEVEL = 0.5
"""Share of collapsed rollouts that makes the ceiling (method section 1)."""


@dataclass(frozen=True)
class Candidate:
    """A neuron on a branch with what the generic pass knows of it.

    Attributes:
        neuron: Its name.
        branch: +1 or −1.
        curve: Its curve on this branch.
        budget: B, activation units per unit of t; ‖r_L‖ for an injection, whose dose is a length.
        site: Where the dose enters: at the neuron's activation, or as its direction in the residual stream, past any
            norm after the FFN.
    """

    neuron: str
    branch: int
    curve: Curve
    budget: float
    site: Site = "activation"

    @property
    def cosine(self) -> float:
        """c0 on this branch."""
        return self.curve.cosine

    def coordinate(self, t: float) -> float:
        """c at a dose."""
        return self.curve.coordinate(t)

    def dose(self, coordinate: float) -> float:
        """t at a control coordinate."""
        return self.curve.dose(coordinate)


@dataclass(frozen=True)
class SearchTask:
    """What a search needs to know of the behavior.

    Attributes:
        behavior: Name.
        split: Split of the prompts.
        prompts: Ids of the eligible prompts.
        horizon: Horizon of trigger and ceiling, in tokens.
        target_outcomes: Outcomes that count as a flip.
        level: Share of prompts that makes the trigger.
        positions: "all" or "generated".
        stride: Coarse doses asked for at once; more when few searches share a batch.
        coarse: Control coordinates (at c0 = 0) of the coarse scan.
        refine: Whether brackets are bisected down to `RESOLUTION`.
    """

    behavior: str
    split: str
    prompts: tuple[str, ...]
    horizon: int
    target_outcomes: frozenset[str]
    level: float = 0.5
    positions: str = "all"
    stride: int = 1
    coarse: tuple[float, ...] = COARSE_COORDINATES
    refine: bool = True


@dataclass
class WindowSearch:
    """Searches one candidate's window.

    Attributes:
        candidate: The neuron on a branch.
        task: The behavior's side.
        undosed: Rows of the undosed rollouts on the eligible prompts.
        measured: Every dose's rows, by t.
    """

    candidate: Candidate
    task: SearchTask
    undosed: Rows
    measured: dict[float, Rows] = field(default_factory=dict)

    def next_cells(self) -> Sequence[Cell]:
        """The next doses: coarse ones until the ceiling is bracketed, then bisections of both brackets."""
        return [self.cell(t) for t in self._next_doses()]

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take measured rows."""
        for cell, rows in results.items():
            assert isinstance(cell, RolloutCell)
            self.measured[cell.t] = rows

    @property
    def progress(self) -> float:
        """How far the search is, 0 to 1; an estimate until it is settled."""
        if self.measured and not self._next_doses():
            return 1.0
        expected = len(self.task.coarse) + (4 if self.task.refine else 1)
        return min(0.95, len(self.measured) / expected)

    def cell(self, t: float, sample_seed: int | None = None) -> RolloutCell:
        """The cell of a dose."""
        return RolloutCell(
            behavior=self.task.behavior,
            split=self.task.split,
            neuron=self.candidate.neuron,
            branch=self.candidate.branch,
            t=t,
            alpha=self.candidate.branch * t * self.candidate.budget,
            positions=self.task.positions,
            horizon=self.task.horizon,
            prompts=self.task.prompts,
            sample_seed=sample_seed,
            site=self.candidate.site,
        )

    @property
    def doses(self) -> list[float]:
        """Measured doses, ascending, the undosed model first."""
        return [0.0, *sorted(self.measured)]

    @property
    def coordinates(self) -> Floats:
        """c of `doses`."""
        return np.array([self.candidate.coordinate(t) for t in self.doses])

    @property
    def rows(self) -> list[Rows]:
        """Rows of each of `doses`."""
        return [self.undosed, *(self.measured[t] for t in self.doses[1:])]

    def events(self, outcomes: frozenset[str], horizon: int | None = None) -> Bools:
        """Whether each eligible prompt shows one of the outcomes at each of `doses`, [doses, prompts]."""
        key = str(self.task.horizon if horizon is None else horizon)
        return np.array([[row["outcomes"][key] in outcomes for row in rows] for rows in self.rows], dtype=bool)

    @property
    def flips(self) -> Bools:
        """Coherent rollouts whose outcome is a target, at the last horizon."""
        return self.events(self.task.target_outcomes)

    @property
    def collapses(self) -> Bools:
        """Collapsed rollouts at the last horizon."""
        return self.events(frozenset({"collapsed"}))

    def _next_doses(self) -> list[float]:
        coarse = [round(geometry.dose_for(c), 6) for c in self.task.coarse]
        shares = self.collapses.mean(axis=1)
        if not self._certainly_collapsed():
            waiting = [t for t in coarse if t > max(self.doses)]
            if waiting:
                return waiting[: self.task.stride]
        if not self.task.refine:
            return []
        ceiling = first_bracket(shares, COLLAPSE_LEVEL)
        wanted = [] if ceiling is None else self._bisection(ceiling)
        flips = self.flips.mean(axis=1)
        trigger = first_bracket(flips, self.task.level)
        if trigger is not None:
            wanted += self._bisection(trigger)
        elif flips.max() >= self.task.level / 2:
            # A window narrower than a coarse step shows as a high share that stays below the level.
            peak = int(flips.argmax())
            wanted += [
                t for i in (peak, peak + 1) if 0 < i < len(self.doses) for t in self._bisection(i, 2 * RESOLUTION)
            ]
        # Near |c0| = 1 a rounded dose can be one already measured; asking for it again would never end.
        return sorted(set(wanted) - set(self.measured))

    def _certainly_collapsed(self) -> bool:
        """Whether some dose has collapsed beyond doubt, so that the ceiling's interval is bounded too."""
        counts = self.collapses.sum(axis=1)
        return any(wilson_interval(int(count), len(self.undosed)).low >= COLLAPSE_LEVEL for count in counts)

    def _bisection(self, upper: int, width: float = RESOLUTION) -> list[float]:
        """The dose in the middle (in c) of the bracket that ends at index `upper`; none when it is narrow enough."""
        low, high = self.coordinates[upper - 1], self.coordinates[upper]
        if high - low <= width:
            return []
        return [round(self.candidate.dose(float(low + high) / 2), 6)]


def summarise(rows: Rows, key: str) -> dict[str, float]:
    """Share of each outcome among a cell's rows at a horizon."""
    counts: dict[str, float] = {}
    for row in rows:
        outcome = row["outcomes"][key]
        counts[outcome] = counts.get(outcome, 0) + 1
    return {outcome: count / len(rows) for outcome, count in sorted(counts.items())}


def median_coordinate(rows: Rows) -> tuple[float | None, tuple[float, float] | None]:
    """Median measured control coordinate over rollouts, and the middle half of its distribution."""
    values: list[Any] = [row["coordinate"] for row in rows if row["coordinate"] is not None]
    if not values:
        return None, None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(middle), (float(low), float(high))
