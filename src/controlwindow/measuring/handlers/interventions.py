"""Runs the cells of a comparison of interventions that are no rollouts: capability, and areas under the curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import AreaCell, CapabilityCell
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.comparison import Compared, compare_passes
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.gradients import last_activations
from controlwindow.instruments.memory import BatchSizes
from controlwindow.instruments.operations import RowOperations
from controlwindow.measuring.steering import Steering
from controlwindow.models import Model
from controlwindow.screens.detection import areas_under_curves

_ROWS = 32


@dataclass
class InterventionRunner:
    """Measures what an intervention costs on generic answers, and what neurons tell of a behavior by themselves.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass.
        steering: What turns cells into operations.
        sizes: Batches that fit into memory.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    steering: Steering
    sizes: BatchSizes

    def rows_in(self, cell: AreaCell | CapabilityCell) -> int:
        """Batch rows of a cell."""
        if isinstance(cell, CapabilityCell):
            return len(self.generic.prompts)
        contrast = self.behaviors[cell.behavior].contrast(cell.split)
        return len(contrast.positive) + len(contrast.negative)

    def run(self, cell: AreaCell | CapabilityCell) -> list[dict[str, Any]]:
        """Measure one cell."""
        return self._capability(cell) if isinstance(cell, CapabilityCell) else [self._areas(cell)]

    def _capability(self, cell: CapabilityCell) -> list[dict[str, Any]]:
        """Each of the model's own generic answers, teacher-forced under the intervention."""
        places = [place for place, text in enumerate(self.generic.token_ids) if len(text)]
        prompts = [self.generic.prompt_ids[place] for place in places]
        texts = [self.generic.token_ids[place] for place in places]
        operations = self.steering.row_operations(cell, prompts)

        def compare(chosen: slice, acting: RowOperations, size: int) -> list[Compared]:
            return compare_passes(self.model, [acting], prompts[chosen], texts[chosen], batch_rows=size)[0]

        def work(size: int) -> list[Compared]:
            # Where operations depend on the prompt, every row is a batch of its own.
            if cell.method == "anchor":
                rows = range(len(prompts))
                return [row for i in rows for row in compare(slice(i, i + 1), operations[i], 1)]
            return compare(slice(None), operations[0], size)

        found = self.sizes.fit("compared passes", _ROWS, work)
        return [
            {
                "text": place,
                "tokens": row.tokens,
                "excess": round(row.excess, 6),
                "agreement": round(row.agreement, 6),
                "divergence": round(row.divergence, 6),
            }
            for place, row in zip(places, found, strict=True)
        ]

    def _areas(self, cell: AreaCell) -> dict[str, Any]:
        contrast = self.behaviors[cell.behavior].contrast(cell.split)
        sides = []
        for side in (contrast.positive, contrast.negative):
            found = last_activations(self.model, self.model.token_ids([prompt.text for prompt in side]))
            sides.append(found)
        # Layer by layer, since every pair of prompts is compared for every neuron.
        parts = [areas_under_curves(positive, negative) for positive, negative in zip(*sides, strict=True)]
        areas, errors = (np.concatenate(values) for values in zip(*parts, strict=True))
        return {
            "areas": pack_array(areas),
            "errors": pack_array(errors),
            "counts": [len(contrast.positive), len(contrast.negative)],
        }
