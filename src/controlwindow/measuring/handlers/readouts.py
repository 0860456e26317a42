"""What the write directions do to F when they are read out directly."""

from __future__ import annotations

import torch

from controlwindow.cells import GradientCell, ReadoutCell, Rows
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.dosing import limit_directions
from controlwindow.instruments.objectives import Objective
from controlwindow.measuring.answers import partners
from controlwindow.measuring.bench import Bench
from controlwindow.measuring.handlers.base import OnContrast, handles


@handles(ReadoutCell)
class ReadoutHandler(OnContrast[ReadoutCell]):
    """d_F·v of every neuron."""

    def measure(self, cell: ReadoutCell) -> Rows:
        """d_F is the mean over the distinct objectives of X+; all layers in a row."""
        model, cost = self.bench.model, Cost()
        objectives = contrast_objectives(self.bench, cell, cost)[1]
        direction = torch.stack([objective.readout(model) for objective in dict.fromkeys(objectives)]).mean(0)
        parts = [direction @ limit_directions(model, layer) for layer in range(model.layers)]
        return [{"alignment": pack_array(torch.cat(parts).cpu().numpy()), "cost": cost.to_row()}]


def contrast_objectives(
    bench: Bench, cell: ReadoutCell | GradientCell, cost: Cost
) -> tuple[list[str], list[Objective]]:
    """The prompts of X+ with their objectives; what reading their answers costs is added."""
    contrast = bench.contrast(cell)
    prompts = [prompt.text for prompt in contrast.positive]
    mates = [prompt.text for prompt in partners(contrast.positive, contrast.negative)]
    return prompts, bench.answers.objectives(bench.behaviors[cell.behavior], prompts, mates, cost)
