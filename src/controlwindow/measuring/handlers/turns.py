"""Doses of each of a layer's neurons at the one position where answers turn apart: the causal screen's wide stages."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.cells import Rows, TurnCell
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.dosing import layer_offsets
from controlwindow.instruments.operations import Add
from controlwindow.instruments.single import dosed_position
from controlwindow.measuring.answers import Turn, partners, turn_of
from controlwindow.measuring.handlers.base import OneByOne, handles

_ROWS = 512

_LOGITS = 1 << 23
"""Most logits held at once (32 MiB in float32): long vocabularies are read in slices."""


@handles(TurnCell)
class TurnHandler(OneByOne[TurnCell]):
    """Doses neurons at one |c| on both branches, one token long."""

    def rows_in(self, cell: TurnCell) -> int:
        """Rows of the dosed passes."""
        neurons = len(cell.columns) or self.bench.model.neurons.widths[cell.layer]
        return 2 * neurons * cell.prompts

    def measure(self, cell: TurnCell) -> Rows:
        """How far the source token falls and the target token rises, in nats of log-probability.

        Returns:
            One row: fall and rise, [neurons, branches, prompts] each. Where the target answer has no token of its own
            at the position, its rise is 0.
        """
        bench, model = self.bench, self.bench.model
        behavior, contrast, cost = bench.behaviors[cell.behavior], bench.contrast(cell), Cost()
        mates = partners(contrast.positive, contrast.negative)
        chosen = [(cell.first + step) % len(contrast.positive) for step in range(cell.prompts)]
        answers = bench.answers.pairs(
            behavior, [contrast.positive[i] for i in chosen], [mates[i] for i in chosen], cost
        )
        columns = cell.columns or tuple(range(model.neurons.widths[cell.layer]))
        offsets = layer_offsets(model, bench.generic, cell.layer, cell.coordinate)
        neurons = [model.neurons.at(cell.layer, column) for column in columns]
        rows = [
            (Add(neuron, float(offsets[branch, column]), "generated"),)
            for neuron, column in zip(neurons, columns, strict=True)
            for branch in (0, 1)
        ]
        found = [self._shifts(turn_of(pair), [(), *rows], cost) for pair in answers]
        moved = np.stack(found, -1).reshape(len(columns), 2, 2, len(answers))
        return [{"fall": pack_array(-moved[:, :, 0]), "rise": pack_array(moved[:, :, 1]), "cost": cost.to_row()}]

    def _shifts(self, turn: Turn, rows: list[tuple[Add, ...]], cost: Cost) -> NDArray[np.float64]:
        """Log-probabilities of source and target under each row, less those under the first one, [rows − 1, 2]."""
        model = self.bench.model
        step = max(1, _LOGITS // model.hf_model.get_output_embeddings().weight.shape[0])
        wanted = [turn.source, turn.source if turn.target is None else turn.target]

        def read(hidden: torch.Tensor) -> torch.Tensor:
            parts = []
            for start in range(0, len(hidden), step):
                logits = model.readout(hidden[start : start + step]).float()
                parts.append(logits[:, wanted] - logits.logsumexp(-1, keepdim=True))
            return torch.cat(parts)

        values, passed = self.bench.sizes.fit(
            "dosed positions",
            _ROWS,
            lambda size: dosed_position(
                model, turn.prompt_ids, rows, read, batch_rows=size, progress=self.bench.progress
            ),
        )
        cost.forward += len(rows)
        cost.tokens += passed
        cost.scored += len(rows)
        shifts: NDArray[np.float64] = values[1:] - values[0]
        if turn.target is None:
            shifts[:, 1] = 0
        return shifts
