"""Doses of each of a layer's neurons, teacher-forced: what the causal screen asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlwindow.cells import DosedCell, Rows
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.dosing import layer_offsets
from controlwindow.instruments.forced import Forced, ForcedRow, forced_pass
from controlwindow.instruments.operations import Add
from controlwindow.measuring.answers import partners
from controlwindow.measuring.handlers.base import OneByOne, handles

_ROWS = 256


@handles(DosedCell)
class DosedHandler(OneByOne[DosedCell]):
    """Doses neurons at one |c| on both branches, over given answers."""

    def rows_in(self, cell: DosedCell) -> int:
        """Rows of the dosed passes."""
        neurons = len(cell.columns) or self.bench.model.neurons.widths[cell.layer]
        return 2 * neurons * (2 * cell.prompts + cell.generic)

    def measure(self, cell: DosedCell) -> Rows:
        """The shift of F and the damage to generic answers of every neuron on both branches."""
        bench, model, spoken = self.bench, self.bench.model, self.bench.generic
        behavior, contrast, cost = bench.behaviors[cell.behavior], bench.contrast(cell), Cost()
        mates = partners(contrast.positive, contrast.negative)
        chosen = [(cell.first + step) % len(contrast.positive) for step in range(cell.prompts)]
        answers = bench.answers.pairs(
            behavior, [contrast.positive[i] for i in chosen], [mates[i] for i in chosen], cost
        )
        length = max(len(pair.source) for pair in answers)
        # Generic answers are taken from the end where later stages use the first prompts, so none is used twice.
        order = [(cell.first + step) % len(spoken.prompt_ids) for step in range(len(spoken.prompt_ids))]
        texts = [i for i in order if spoken.token_ids[i]][: cell.generic]
        plain = [ForcedRow(pair.prompt_ids, text, ()) for pair in answers for text in (pair.target, pair.source)]
        generic = [ForcedRow(tuple(spoken.prompt_ids[i]), tuple(spoken.token_ids[i][:length]), ()) for i in texts]
        columns = cell.columns or tuple(range(model.neurons.widths[cell.layer]))
        offsets = layer_offsets(model, spoken, cell.layer, cell.coordinate)
        neurons = [model.neurons.at(cell.layer, column) for column in columns]
        dosed = [
            (Add(neuron, float(offsets[branch, column]), cell.positions),)
            for neuron, column in zip(neurons, columns, strict=True)
            for branch in (0, 1)
        ]
        undosed = self._forced(plain, False, cost)
        before = np.array([row.log_likelihood for row in undosed]).reshape(len(answers), 2)
        moved = self._forced([row._replace(operations=o) for o in dosed for row in plain], False, cost)
        after = np.array([row.log_likelihood for row in moved]).reshape(len(columns), 2, len(answers), 2)
        shift = after[..., 0] - after[..., 1] - (before[:, 0] - before[:, 1])
        row = {"shift": pack_array(shift), "length": length}
        apart = self._forced([row._replace(operations=o) for o in dosed for row in generic], True, cost)
        damage = np.array([row.divergence for row in apart]).reshape(len(columns), 2, len(generic)).mean(-1)
        return [{**row, "damage": pack_array(damage), "cost": cost.to_row()}]

    def _forced(self, rows: Sequence[ForcedRow], divergence: bool, cost: Cost) -> list[Forced]:
        found = self.bench.sizes.fit(
            "dosed passes",
            _ROWS,
            lambda size: forced_pass(
                self.bench.model, rows, batch_rows=size, divergence=divergence, progress=self.bench.progress
            ),
        )
        cost.forward += len(rows)
        cost.tokens += sum(row.tokens for row in found)
        cost.scored += sum(len(row.token_ids) for row in rows)
        return found
