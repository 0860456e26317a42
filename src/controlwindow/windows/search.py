"""The search for one neuron's trigger and ceiling on one branch, with as few rollouts as the definitions allow.

Three stages. *Scouts*, a few prompts, scan the coarse doses upwards until they have collapsed, and bisect where their
shares cross a level. *Promotion* measures on all prompts whatever decides: every dose that the scouts cannot set aside
(`scouting`), both ends of both brackets, and the doses beyond them until the intervals are bounded. Where a promoted
dose turns out on the other side, the search walks on to the neighbour. Thresholds, heights and verdicts come from
doses measured in full alone; those measured on scouts only are kept, and say so.

A planner: it asks for doses and reads outcomes, and knows nothing of models. Many searches run in lockstep, so that
different neurons of different layers share batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from controlwindow import geometry
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import Cell, RolloutCell, Rows, Site
from controlwindow.curves import Curve
from controlwindow.instruments.operations import Positions
from controlwindow.windows.narrowing import Narrowing, Wanted
from controlwindow.windows.scouting import SCOUTS, Share, scouting_order, stages
from controlwindow.windows.thresholds import Bools, Floats

COARSE_COORDINATES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, geometry.RANGE_END)
"""The coarse scan's doses as control coordinates at c0 = 0; every neuron gets the same t, so that doses compare."""

RESOLUTION = 0.03
"""Width in c to which a bracket is refined. Bisection of a coarse step ends at 0.025."""

COLLAPSE_LEVEL = 0.5
"""Share of collapsed rollouts that makes the ceiling (method section 1)."""

BATCH = 128
"""Rows that make a batch worth its passes; few searches ask for several doses at once to fill it."""

_COLLAPSED = frozenset({"collapsed"})


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
        stride: Doses asked for at once; more when few searches share a batch (`stride_for`).
        coarse: Control coordinates (at c0 = 0) of the coarse scan.
        refine: Whether brackets are bisected down to `width`.
        width: Widest bracket that a threshold may end in, in c.
        scouts: Prompts on which a dose is tried first; as many as there are prompts measures every dose in full.
        fill: Whether the coarse doses inside an open window are measured in full as well, so that the whole response
            can be shown. Neither thresholds nor verdict need them.
        ceiling: Whether the ceiling is resolved as well; without it, only as far as the trigger needs.
    """

    behavior: str
    split: Split
    prompts: tuple[str, ...]
    horizon: int
    target_outcomes: frozenset[str]
    level: float = 0.5
    positions: Positions = "all"
    stride: int = 1
    coarse: tuple[float, ...] = COARSE_COORDINATES
    refine: bool = True
    width: float = RESOLUTION
    scouts: int = SCOUTS
    fill: bool = False
    ceiling: bool = True

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The prompts in the order in which a dose is measured on them."""
        return scouting_order(self.prompts, self.behavior, self.split)

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """Numbers of prompts at which a dose may rest; where few searches share a batch, no second look."""
        found = stages(len(self.prompts), self.scouts)
        return found if self.stride == 1 else (found[0], found[-1])


def stride_for(searches: int, scouts: int = SCOUTS) -> int:
    """Doses that each of so many searches asks for at once, so that a batch is worth its passes.

    Example:
        >>> stride_for(2), stride_for(100)
        (8, 1)
    """
    return max(1, min(len(COARSE_COORDINATES), BATCH // (scouts * max(searches, 1))))


@dataclass
class WindowSearch:
    """Searches one candidate's window.

    Attributes:
        candidate: The neuron on a branch.
        task: The behavior's side.
        undosed: Rows of the undosed rollouts on the eligible prompts.
        measured: Rows of every dose by t, then by prompt.
    """

    candidate: Candidate
    task: SearchTask
    undosed: Rows
    measured: dict[float, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def next_cells(self) -> Sequence[Cell]:
        """The next doses, each on the prompts that it still lacks."""
        return [self._promotion(t, seen) for t, seen in sorted(self._wanted().items())]

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take measured rows."""
        for cell, rows in results.items():
            assert isinstance(cell, RolloutCell)
            self.measured.setdefault(cell.t, {}).update(zip(cell.prompts, rows, strict=True))

    @property
    def progress(self) -> float:
        """How far the search is, 0 to 1; an estimate until it is settled."""
        if self.measured and not self._wanted():
            return 1.0
        rows = sum(map(len, self.measured.values()))
        expected = self.task.stages[0] * len(self.task.coarse) + (4 if self.task.refine else 3) * len(self.task.prompts)
        return min(0.95, rows / expected)

    def cell(self, t: float, sample_seed: int | None = None) -> RolloutCell:
        """The cell of a dose on all prompts."""
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

    def _promotion(self, t: float, seen: int) -> RolloutCell:
        before = len(self.measured.get(t, {}))
        chosen = set(self.task.order[before:seen])
        return replace(self.cell(t), prompts=tuple(p for p in self.task.prompts if p in chosen))

    @property
    def doses(self) -> list[float]:
        """Doses measured on all prompts, ascending, the undosed model first."""
        total = len(self.task.prompts)
        return [0.0, *sorted(t for t, rows in self.measured.items() if len(rows) == total)]

    @property
    def scouted(self) -> dict[float, Rows]:
        """Rows of the doses measured on scouts only, ascending."""
        total = len(self.task.prompts)
        return {t: self._ordered(t) for t, rows in sorted(self.measured.items()) if len(rows) < total}

    @property
    def coordinates(self) -> Floats:
        """c of `doses`."""
        return np.array([self.candidate.coordinate(t) for t in self.doses])

    @property
    def rows(self) -> list[Rows]:
        """Rows of each of `doses`."""
        return [self.undosed, *map(self._ordered, self.doses[1:])]

    def _ordered(self, t: float) -> Rows:
        rows = self.measured[t]
        return [rows[prompt] for prompt in self.task.prompts if prompt in rows]

    def events(self, outcomes: frozenset[str], horizon: int | None = None) -> Bools:
        """Whether each eligible prompt shows one of the outcomes at each of `doses`, [doses, prompts]."""
        return np.array([[row["outcomes"][self._key(horizon)] in outcomes for row in r] for r in self.rows], dtype=bool)

    def _key(self, horizon: int | None = None) -> str:
        return str(self.task.horizon if horizon is None else horizon)

    @property
    def flips(self) -> Bools:
        """Coherent rollouts whose outcome is a target, at the last horizon."""
        return self.events(self.task.target_outcomes)

    @property
    def collapses(self) -> Bools:
        """Collapsed rollouts at the last horizon."""
        return self.events(_COLLAPSED)

    def _wanted(self) -> Wanted:
        """Doses to measure next, and on how many prompts each; empty when the search is done."""
        task = self.task
        return Narrowing(
            flips=self._shares(task.target_outcomes),
            collapses=self._shares(_COLLAPSED),
            level=task.level,
            collapse_level=COLLAPSE_LEVEL,
            coarse=tuple(round(geometry.dose_for(c), 6) for c in task.coarse),
            stages=task.stages,
            stride=task.stride,
            width=task.width if task.refine else None,
            fill=task.fill,
            ceiling=task.ceiling,
            coordinate=self.candidate.coordinate,
            dose=self.candidate.dose,
        ).wanted()

    def _shares(self, outcomes: frozenset[str]) -> dict[float, Share]:
        total, key = len(self.task.prompts), self._key()
        samples = {0.0: self.undosed} | {t: list(self.measured[t].values()) for t in sorted(self.measured)}
        return {
            t: Share(sum(row["outcomes"][key] in outcomes for row in rows), len(rows), total)
            for t, rows in samples.items()
        }


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
