"""Gradients of F by every neuron's activation: for first-order screens, and ONE's behind the instruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.cells import GradientCell, ReferenceCell, Rows
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.gradients import Gradient, activation_gradients, last_activations
from controlwindow.instruments.objectives import Objective
from controlwindow.measuring.answers import instruction_suffix, partners
from controlwindow.measuring.handlers.base import OnContrast, handles
from controlwindow.measuring.handlers.readouts import contrast_objectives
from controlwindow.models import Model

_ROWS = 32


@handles(GradientCell)
class GradientHandler(OnContrast[GradientCell]):
    """The gradient of F, and its products with activations, at the last prompt position."""

    def rows_in(self, cell: GradientCell) -> int:
        """Two rows a pair, or one a prompt."""
        if cell.paired:
            return 2 * len(self.bench.behaviors[cell.behavior].perturbation_pairs())
        return super().rows_in(cell)

    def measure(self, cell: GradientCell) -> Rows:
        """Moments by name, all layers in a row; on pairs also of attribution patching."""
        behavior, cost = self.bench.behaviors[cell.behavior], Cost()
        if cell.paired:
            pairs = behavior.perturbation_pairs()
            prompts, others = [one for one, _ in pairs], [other for _, other in pairs]
            objectives = self.bench.answers.objectives(behavior, prompts, others, cost)
        else:
            prompts, objectives = contrast_objectives(self.bench, cell, cost)
            others = []
        perturbed = self._last_activations(others, cost)
        moments = _Moments(self.bench.model, ("gradient", "product", "patching") if others else ("gradient", "product"))

        def read(found: Gradient) -> None:
            gradient, activations = (part[-1].double().cpu().numpy() for part in found[2:])
            moments.add("gradient", found.layer, gradient)
            moments.add("product", found.layer, gradient * activations)
            if others:
                moments.add("patching", found.layer, gradient * (perturbed[found.layer][found.prompt] - activations))

        def work(size: int) -> Any:
            moments.clear()
            return activation_gradients(
                self.bench.model,
                self.bench.model.token_ids(prompts),
                objectives,
                read,
                batch_rows=size,
                progress=self.bench.progress,
            )

        followed = self.bench.sizes.fit("gradients", _ROWS, work)
        cost.forward += followed.sequences
        cost.backward += followed.sequences
        cost.tokens += followed.tokens
        row = {"prompts": len(prompts), "values": followed.values, **moments.to_row(len(prompts))}
        return [{**row, "cost": cost.to_row()}]

    def _last_activations(self, prompts: Sequence[str], cost: Cost) -> list[NDArray[np.float64]]:
        """Every neuron's activation at the last position of each prompt by layer, [prompts, neurons]."""
        if not prompts:
            return []
        ids = self.bench.model.token_ids(prompts)
        cost.forward += len(ids)
        cost.tokens += sum(map(len, ids))
        return last_activations(self.bench.model, ids)


@handles(ReferenceCell)
class ReferenceHandler(OnContrast[ReferenceCell]):
    """ONE's gradient and activation of every neuron at the positions after the instruction."""

    def measure(self, cell: ReferenceCell) -> Rows:
        """Moments of both by side, [positions, neurons]."""
        behavior, contrast, cost = self.bench.behaviors[cell.behavior], self.bench.contrast(cell), Cost()
        harmful = [prompt.text for prompt in contrast.positive]
        harmless = [prompt.text for prompt in contrast.negative]
        # The reference is what X+ is answered with; answers of X− are only there to be told apart from it.
        mates = [prompt.text for prompt in partners(contrast.positive, contrast.negative)]
        objectives = self.bench.answers.objectives(behavior, harmful, mates, cost)
        references = [objectives[place % len(objectives)] for place in range(len(harmless))]
        positions = instruction_suffix(self.bench.model)
        row: dict[str, Any] = {"positions": positions}
        for name, prompts, wanted in (("positive", harmful, objectives), ("negative", harmless, references)):
            moments = _Moments(self.bench.model, ("gradient", "activation"), positions)

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
                    self.bench.model,
                    self.bench.model.token_ids(prompts),
                    wanted,
                    read,
                    followed="reference",
                    positions=positions,
                    batch_rows=size,
                    progress=self.bench.progress,
                )

            followed = self.bench.sizes.fit("gradients", _ROWS, work)
            cost.forward += followed.sequences
            cost.backward += followed.sequences
            cost.tokens += followed.tokens
            row |= {f"{name}_{key}": value for key, value in moments.to_row(len(prompts)).items()}
        return [{**row, "cost": cost.to_row()}]


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

    def add(self, name: str, layer: int, values: NDArray[np.float64]) -> None:
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
