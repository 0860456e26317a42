"""The planner of a circuit's sweep: a ladder of strengths, its controls beside it, and the layers at one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from controlwindow.behaviors.prompts import Split
from controlwindow.cells import (
    AnswerCell,
    Cell,
    MoveCell,
    OrdinaryCell,
    PushCell,
    RetentionCell,
    Rows,
    SetCell,
)
from controlwindow.circuits.controls import Arm, Controls, layer_arms, whole_arms
from controlwindow.instruments.operations import Positions

LADDER = (0.75, 0.5, 0.25, 0.0, -0.5, -1.0)
"""CNA's multipliers m beside 1, the undosed model: 0 ablates, below 0 the neurons write the opposite."""

ABLATION = 0.0
"""The strength that counts where none can be chosen."""


@dataclass(frozen=True)
class SweepTask:
    """What a sweep measures on.

    Attributes:
        behavior: The behavior's name.
        factors: The ladder.
        horizon: Tokens to generate.
        ordinary_horizon: Tokens to generate on generic prompts.
        positions: "all" or "generated".
        source: The outcome of undosed eligible rollouts.
        targets: Outcomes that count as a flip.
        select: Ids of the prompts that the strength is chosen on; empty where it is given.
        evaluate: Ids of the prompts that are reported.
        seeds: Draws of every control.
        factor: The strength that is looked into, where it is not chosen.
        answers: Whether target answers are known, so that their shift can be read.
    """

    behavior: str
    factors: tuple[float, ...]
    horizon: int
    ordinary_horizon: int
    positions: Positions
    source: str
    targets: frozenset[str]
    select: tuple[str, ...]
    evaluate: tuple[str, ...]
    seeds: int
    factor: float | None = None
    answers: bool = True


class CircuitSweep:
    """Asks for a circuit's cells, in two rounds: what the strength is chosen by, then all that is reported.

    Args:
        task: What is measured on.
        circuit: Names of the circuit's neurons.
        controls: Its controls.
    """

    def __init__(self, task: SweepTask, circuit: Sequence[str], controls: Controls) -> None:
        self.task = task
        self.circuit = tuple(circuit)
        self.controls = controls
        self.rows: dict[Cell, Rows] = {}

    def next_cells(self) -> Sequence[Cell]:
        """Cells not taken yet, round by round."""
        for cells in (self._first, self._second):
            missing = [cell for cell in cells() if cell not in self.rows]
            if missing:
                return missing
        return []

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take rows."""
        self.rows.update(results)

    @cached_property
    def arms(self) -> list[Arm]:
        """The circuit and its controls, at every strength."""
        return whole_arms(self.circuit, self.controls, self.task.seeds)

    @cached_property
    def layers(self) -> list[Arm]:
        """Parts of the circuit, at the strength looked into."""
        return layer_arms(self.circuit, self.controls)

    def _first(self) -> list[Cell]:
        moves: list[Cell] = [self.move(factor) for factor in self.task.factors]
        if not self.task.select or self.task.factor is not None:
            return moves
        return [*moves, *(self.selecting(factor) for factor in self.task.factors)]

    def _second(self) -> list[Cell]:
        cells: list[Cell] = []
        for arm in self.arms:
            for factor in self.task.factors:
                cells += [self.rollout(arm, factor), self.retention(arm, factor)]
                if arm.kind == "circuit" or factor == self.factor:
                    cells.append(self.ordinary(arm, factor))
                    if self.task.answers:
                        cells.append(self.answer(arm, factor))
                if factor == self.factor and self.task.answers and arm.neurons:
                    cells.append(self.answer(arm, factor, hold_attention=True))
        cells += [self.rollout(arm, self.factor) for arm in self.layers]
        return list(dict.fromkeys(cells))

    @cached_property
    def factor(self) -> float:
        """The strength that is looked into: with the most flips on the select prompts, the nearest to 1 of equals.

        Where none flips a prompt it is ablation: the weakest change would be the weakest test of what a circuit gates.
        """
        if self.task.factor is not None:
            return self.task.factor
        if not any(self.selected_flips):
            return ABLATION if ABLATION in self.task.factors else self.task.factors[0]
        best = max(self.selected_flips)
        equal = [factor for factor, flips in zip(self.task.factors, self.selected_flips, strict=True) if flips == best]
        return min(equal, key=lambda factor: abs(1 - factor))

    @property
    def selected_flips(self) -> list[float]:
        """Share of the select prompts that each strength flips; empty where there are none."""
        if not self.task.select:
            return []
        return [float(np.mean(self.flips(self.selecting(factor)))) for factor in self.task.factors]

    def flips(self, cell: Cell) -> list[float]:
        """Whether each rollout of a cell shows a target outcome at the horizon."""
        last = str(self.task.horizon)
        return [float(row["outcomes"][last] in self.task.targets) for row in self.rows[cell]]

    def sizes(self, factor: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Layers of the circuit, and how far its change moves the residual of each."""
        (row,) = self.rows[self.move(factor)]
        return tuple(row["layers"]), tuple(row["sizes"])

    def move(self, factor: float) -> MoveCell:
        """How far the circuit's change moves the residual, on prompts that are not reported where there are others."""
        task = self.task
        split: Split = "select" if task.select else "evaluate"
        prompts = task.select or task.evaluate
        return MoveCell(task.behavior, split, self.circuit, factor, positions=task.positions, prompts=prompts)

    def rollout(self, arm: Arm, factor: float) -> Cell:
        """Rollouts on the prompts that are reported."""
        return self._rollout(arm, factor, "evaluate")

    def selecting(self, factor: float) -> Cell:
        """Rollouts of the circuit on the prompts that the strength is chosen on."""
        return self._rollout(self.arms[0], factor, "select")

    def _rollout(self, arm: Arm, factor: float, split: Split) -> Cell:
        task = self.task
        prompts = task.select if split == "select" else task.evaluate
        if arm.neurons:
            return SetCell(task.behavior, split, arm.neurons, factor, task.positions, task.horizon, prompts)
        return PushCell(**self._change(arm, factor, split), horizon=task.horizon, prompts=prompts)

    def retention(self, arm: Arm, factor: float) -> RetentionCell:
        """What is left of generic answers."""
        return RetentionCell(**self._change(arm, factor, "evaluate"))

    def ordinary(self, arm: Arm, factor: float) -> OrdinaryCell:
        """Generic prompts answered anew."""
        return OrdinaryCell(**self._change(arm, factor, "evaluate"), horizon=self.task.ordinary_horizon)

    def answer(self, arm: Arm, factor: float, *, hold_attention: bool = False) -> AnswerCell:
        """Shift of the log-odds of target against source answer."""
        return AnswerCell(
            **self._change(arm, factor, "evaluate"), hold_attention=hold_attention, prompts=self.task.evaluate
        )

    def _change(self, arm: Arm, factor: float, split: Split) -> dict[str, Any]:
        change: dict[str, Any] = {
            "behavior": self.task.behavior,
            "split": split,
            "positions": self.task.positions,
        }
        if arm.neurons:
            return {**change, "neurons": arm.neurons, "factor": factor}
        layers, sizes = self.sizes(factor)
        return {**change, "layers": layers, "sizes": sizes, "seed": arm.seed}
