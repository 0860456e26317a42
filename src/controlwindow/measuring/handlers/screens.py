"""Runs the cells that screens ask for; each gives one row, with what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from controlwindow.behaviors import Behavior
from controlwindow.cells import (
    ActivationCell,
    Cell,
    DosedCell,
    GradientCell,
    PerturbationCell,
    ReadoutCell,
    ReferenceCell,
    Rows,
)
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.dosing import layer_offsets, limit_directions
from controlwindow.instruments.forced import Forced, ForcedRow, forced_pass
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.gradients import Gradient, activation_gradients, last_activations
from controlwindow.instruments.memory import BatchSizes
from controlwindow.instruments.moments import last_position_moments
from controlwindow.instruments.objectives import Objective
from controlwindow.instruments.operations import Add
from controlwindow.instruments.perturbations import perturbation_importance
from controlwindow.measuring.answers import Answers, Tally, instruction_suffix, partners
from controlwindow.models import Model
from controlwindow.screens.base import Activations, circuit_size

_GRADIENT_ROWS = 32
_DOSED_ROWS = 256

Progress = Callable[[int, int], None]


@dataclass
class ScreenRunner:
    """Measures screens' cells.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass.
        sizes: Batches that fit into memory.
        progress: Called with rows done and rows in all.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    sizes: BatchSizes
    progress: Progress | None = None
    _answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        self._answers = Answers(self.model)

    def rows_in(self, cell: Cell) -> int:
        """Batch rows of a cell."""
        behavior = self.behaviors[cell.behavior]
        if isinstance(cell, DosedCell):
            neurons = len(cell.columns) or self.model.neurons.widths[cell.layer]
            return 2 * neurons * (2 * cell.prompts + cell.generic)
        if isinstance(cell, PerturbationCell) or (isinstance(cell, GradientCell) and cell.paired):
            return 2 * len(behavior.perturbation_pairs())
        contrast = behavior.contrast(cell.split)
        return len(contrast.positive) + len(contrast.negative)

    def run(self, cell: Cell) -> Rows:
        """Measure one cell."""
        measure: Callable[[Any, Behavior, Tally], dict[str, Any]] = _MEASURES[type(cell)].__get__(self)
        tally = Tally()
        row = measure(cell, self.behaviors[cell.behavior], tally)
        return [{**row, "cost": tally.to_row()}]

    def _activations(self, cell: ActivationCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        contrast = behavior.contrast(cell.split)
        sides = [[prompt.text for prompt in side] for side in (contrast.positive, contrast.negative)]
        found = last_position_moments(
            self.model, sides, self.generic.prompts, circuit_size(len(self.model.neurons)), progress=self.progress
        )
        tally.forward += found.passed
        tally.tokens += found.tokens
        return Activations.of(found, (len(sides[0]), len(sides[1]))).to_row()

    def _readout(self, cell: ReadoutCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        objectives = self._contrast_objectives(cell, behavior, tally)[1]
        direction = torch.stack([objective.readout(self.model) for objective in dict.fromkeys(objectives)]).mean(0)
        parts = [direction @ limit_directions(self.model, layer) for layer in range(self.model.layers)]
        return {"alignment": pack_array(torch.cat(parts).cpu().numpy())}

    def _gradient(self, cell: GradientCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        if cell.paired:
            pairs = behavior.perturbation_pairs()
            prompts, others = [one for one, _ in pairs], [other for _, other in pairs]
            objectives = self._answers.objectives(behavior, prompts, others, tally)
        else:
            prompts, objectives = self._contrast_objectives(cell, behavior, tally)
            others = []
        perturbed = self._last_activations(others, tally)
        moments = _Moments(self.model, ("gradient", "product", "patching") if others else ("gradient", "product"))

        def read(found: Gradient) -> None:
            gradient, activations = (part[-1].double().cpu().numpy() for part in found[2:])
            moments.add("gradient", found.layer, gradient)
            moments.add("product", found.layer, gradient * activations)
            if others:
                moments.add("patching", found.layer, gradient * (perturbed[found.layer][found.prompt] - activations))

        def work(size: int) -> Any:
            moments.clear()
            return activation_gradients(
                self.model, self.model.token_ids(prompts), objectives, read, batch_rows=size, progress=self.progress
            )

        followed = self.sizes.fit("gradients", _GRADIENT_ROWS, work)
        tally.forward += followed.sequences
        tally.backward += followed.sequences
        tally.tokens += followed.tokens
        return {"prompts": len(prompts), "values": followed.values, **moments.to_row(len(prompts))}

    def _reference(self, cell: ReferenceCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        contrast = behavior.contrast(cell.split)
        harmful = [prompt.text for prompt in contrast.positive]
        harmless = [prompt.text for prompt in contrast.negative]
        # The reference is what X+ is answered with; answers of X− are only there to be told apart from it.
        mates = [prompt.text for prompt in partners(contrast.positive, contrast.negative)]
        objectives = self._answers.objectives(behavior, harmful, mates, tally)
        references = [objectives[place % len(objectives)] for place in range(len(harmless))]
        positions = instruction_suffix(self.model)
        row: dict[str, Any] = {"positions": positions}
        for name, prompts, wanted in (("positive", harmful, objectives), ("negative", harmless, references)):
            moments = _Moments(self.model, ("gradient", "activation"), positions)

            def read(found: Gradient, moments: _Moments = moments) -> None:
                moments.add("gradient", found.layer, found.gradient.double().cpu().numpy())
                moments.add("activation", found.layer, found.activations.double().cpu().numpy())

            def work(
                size: int,
                moments: _Moments = moments,
                prompts: Sequence[str] = prompts,
                wanted: Sequence[Objective] = wanted,
                read: Callable[[Gradient], None] = read,
            ) -> Any:
                moments.clear()
                return activation_gradients(
                    self.model,
                    self.model.token_ids(prompts),
                    wanted,
                    read,
                    followed="reference",
                    positions=positions,
                    batch_rows=size,
                    progress=self.progress,
                )

            followed = self.sizes.fit("gradients", _GRADIENT_ROWS, work)
            tally.forward += followed.sequences
            tally.backward += followed.sequences
            tally.tokens += followed.tokens
            row |= {f"{name}_{key}": value for key, value in moments.to_row(len(prompts)).items()}
        return row

    def _perturbation(self, cell: PerturbationCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        pairs = behavior.perturbation_pairs()
        prompts, others = [one for one, _ in pairs], [other for _, other in pairs]
        encoded = list(zip(self.model.token_ids(prompts), self.model.token_ids(others), strict=True))
        objectives = self._answers.objectives(behavior, prompts, others, tally)
        found = self.sizes.fit(
            "perturbations",
            _GRADIENT_ROWS,
            lambda size: perturbation_importance(
                self.model, encoded, objectives, batch_rows=size, progress=self.progress
            ),
        )
        tally.forward += found.sequences
        tally.tokens += found.tokens
        return {
            "mean": pack_array(found.mean),
            "mean_square": pack_array(found.mean_square),
            "pairs": [{**pair._asdict(), "flips": pair.flips} for pair in found.pairs],
        }

    def _dosed(self, cell: DosedCell, behavior: Behavior, tally: Tally) -> dict[str, Any]:
        contrast = behavior.contrast(cell.split)
        mates = partners(contrast.positive, contrast.negative)
        chosen = [(cell.first + step) % len(contrast.positive) for step in range(cell.prompts)]
        answers = self._answers.pairs(
            behavior, [contrast.positive[i] for i in chosen], [mates[i] for i in chosen], tally
        )
        length = max(len(pair.source) for pair in answers)
        # Generic answers are taken from the end where later stages use the first prompts, so none is used twice.
        order = [(cell.first + step) % len(self.generic.prompt_ids) for step in range(len(self.generic.prompt_ids))]
        texts = [i for i in order if self.generic.token_ids[i]][: cell.generic]
        plain = [ForcedRow(pair.prompt_ids, text, ()) for pair in answers for text in (pair.target, pair.source)]
        generic = [
            ForcedRow(tuple(self.generic.prompt_ids[i]), tuple(self.generic.token_ids[i][:length]), ()) for i in texts
        ]
        columns = cell.columns or tuple(range(self.model.neurons.widths[cell.layer]))
        offsets = layer_offsets(self.model, self.generic, cell.layer, cell.coordinate)
        neurons = [self.model.neurons.at(cell.layer, column) for column in columns]
        positions: Any = cell.positions
        dosed = [
            (Add(neuron, float(offsets[branch, column]), positions),)
            for neuron, column in zip(neurons, columns, strict=True)
            for branch in (0, 1)
        ]
        undosed = self._forced(plain, False, tally)
        before = np.array([row.log_likelihood for row in undosed]).reshape(len(answers), 2)
        moved = self._forced([row._replace(operations=o) for o in dosed for row in plain], False, tally)
        after = np.array([row.log_likelihood for row in moved]).reshape(len(columns), 2, len(answers), 2)
        shift = after[..., 0] - after[..., 1] - (before[:, 0] - before[:, 1])
        row = {"shift": pack_array(shift), "length": length}
        apart = self._forced([row._replace(operations=o) for o in dosed for row in generic], True, tally)
        damage = np.array([row.divergence for row in apart]).reshape(len(columns), 2, len(generic)).mean(-1)
        return {**row, "damage": pack_array(damage)}

    def _forced(self, rows: Sequence[ForcedRow], divergence: bool, tally: Tally) -> list[Forced]:
        found = self.sizes.fit(
            "dosed passes",
            _DOSED_ROWS,
            lambda size: forced_pass(self.model, rows, batch_rows=size, divergence=divergence, progress=self.progress),
        )
        tally.forward += len(rows)
        tally.tokens += sum(row.tokens for row in found)
        tally.scored += sum(len(row.token_ids) for row in rows)
        return found

    def _contrast_objectives(
        self, cell: ReadoutCell | GradientCell, behavior: Behavior, tally: Tally
    ) -> tuple[list[str], list[Objective]]:
        contrast = behavior.contrast(cell.split)
        prompts = [prompt.text for prompt in contrast.positive]
        mates = [prompt.text for prompt in partners(contrast.positive, contrast.negative)]
        return prompts, self._answers.objectives(behavior, prompts, mates, tally)

    def _last_activations(self, prompts: Sequence[str], tally: Tally) -> list[np.ndarray[Any, Any]]:
        """Every neuron's activation at the last position of each prompt by layer, [prompts, neurons]."""
        if not prompts:
            return []
        ids = self.model.token_ids(prompts)
        tally.forward += len(ids)
        tally.tokens += sum(map(len, ids))
        return last_activations(self.model, ids)


class _Moments:
    """Sums and sums of squares of per-neuron values, layer by layer."""

    def __init__(self, model: Model, names: Sequence[str], positions: int = 0) -> None:
        self._widths = model.neurons.widths
        self._names, self._positions = names, positions
        self.clear()

    def clear(self) -> None:
        """Forget what was added; the work is begun again."""
        shape = (self._positions,) if self._positions else ()
        self._sums = {name: [np.zeros((*shape, width)) for width in self._widths] for name in self._names}
        self._squares = {name: [np.zeros((*shape, width)) for width in self._widths] for name in self._names}

    def add(self, name: str, layer: int, values: np.ndarray[Any, Any]) -> None:
        """Add one prompt's values."""
        self._sums[name][layer] += values
        self._squares[name][layer] += values**2

    def to_row(self, count: int) -> dict[str, Any]:
        """Mean and mean square by name, all layers in a row."""
        row = {}
        for name in self._names:
            row[name] = pack_array(np.concatenate(self._sums[name], -1) / count)
            row[f"{name}_square"] = pack_array(np.concatenate(self._squares[name], -1) / count)
        return row


_MEASURES: dict[type[Any], Any] = {
    ActivationCell: ScreenRunner._activations,
    ReadoutCell: ScreenRunner._readout,
    GradientCell: ScreenRunner._gradient,
    ReferenceCell: ScreenRunner._reference,
    PerturbationCell: ScreenRunner._perturbation,
    DosedCell: ScreenRunner._dosed,
}
