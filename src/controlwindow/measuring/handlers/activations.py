"""Activations at the last prompt position over a contrast's two sides: their moments, areas, or all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controlwindow.behaviors import Prompt
from controlwindow.cells import ActivationCell, AreaCell, DetectionCell, Rows
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.gradients import last_activations
from controlwindow.instruments.moments import last_position_moments
from controlwindow.measuring.bench import Bench
from controlwindow.measuring.handlers.base import OnContrast, handles
from controlwindow.models import Neuron
from controlwindow.screens.base import Activations, circuit_size
from controlwindow.screens.detection import areas_under_curves


@handles(ActivationCell)
class ActivationHandler(OnContrast[ActivationCell]):
    """Moments of every neuron over both sides."""

    def measure(self, cell: ActivationCell) -> Rows:
        """Means, mean squares and extremes, with the share of diverse prompts that excite each neuron most."""
        bench, contrast = self.bench, self.bench.contrast(cell)
        sides = [[prompt.text for prompt in side] for side in (contrast.positive, contrast.negative)]
        size = circuit_size(len(bench.model.neurons))
        found = last_position_moments(bench.model, sides, bench.generic.prompts, size, progress=bench.progress)
        cost = Cost(forward=found.passed, tokens=found.tokens)
        row = Activations.of(found, (len(sides[0]), len(sides[1]))).to_row()
        return [{**row, "cost": cost.to_row()}]


@handles(AreaCell)
class AreaHandler(OnContrast[AreaCell]):
    """Areas under the curve of every neuron."""

    def measure(self, cell: AreaCell) -> Rows:
        """Areas and their standard errors, all layers in a row."""
        contrast = self.bench.contrast(cell)
        sides = [_last_activations(self.bench, side) for side in (contrast.positive, contrast.negative)]
        # Layer by layer, since every pair of prompts is compared for every neuron.
        parts = [areas_under_curves(positive, negative) for positive, negative in zip(*sides, strict=True)]
        areas, errors = (np.concatenate(values) for values in zip(*parts, strict=True))
        counts = [len(contrast.positive), len(contrast.negative)]
        return [{"areas": pack_array(areas), "errors": pack_array(errors), "counts": counts}]


@handles(DetectionCell)
class DetectionHandler(OnContrast[DetectionCell]):
    """Activations of some neurons, prompt by prompt."""

    def measure(self, cell: DetectionCell) -> Rows:
        """Both sides, [prompts, neurons] each."""
        contrast, row = self.bench.contrast(cell), {}
        neurons = [Neuron.parse(name) for name in cell.neurons]
        for name, side in (("positive", contrast.positive), ("negative", contrast.negative)):
            found = _last_activations(self.bench, side)
            chosen = [found[neuron.layer][:, self.bench.model.neurons.column(neuron)] for neuron in neurons]
            row[name] = pack_array(np.stack(chosen, 1))
        return [row]


def _last_activations(bench: Bench, side: Sequence[Prompt]) -> list[NDArray[np.float64]]:
    """Every neuron's activation at the last position of each prompt by layer, [prompts, neurons]."""
    return last_activations(bench.model, bench.model.token_ids([prompt.text for prompt in side]))
