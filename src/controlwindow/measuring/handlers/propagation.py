"""How far a dose propagates, on the undosed rollouts of its behavior."""

from __future__ import annotations

from controlwindow.cells import PropagationCell, Rows
from controlwindow.instruments.probes import propagation
from controlwindow.measuring.handlers.base import OneByOne, handles
from controlwindow.models import Neuron

_ROWS = 64


@handles(PropagationCell)
class PropagationHandler(OneByOne[PropagationCell]):
    """Measures propagation; one row for all prompts."""

    def rows_in(self, cell: PropagationCell) -> int:
        """One row a prompt."""
        return len(self.bench.prompts(cell))

    def measure(self, cell: PropagationCell) -> Rows:
        """1 − cos²(Δr_last, v), as a mean over prompts; None where nothing moved."""
        bench, prompts = self.bench, self.bench.prompts(cell)
        undosed = bench.undosed(cell.behavior, cell.split, bench.behaviors[cell.behavior].horizons[-1])
        value = bench.sizes.fit(
            "propagation",
            _ROWS,
            lambda size: propagation(
                bench.model,
                Neuron.parse(cell.neuron),
                bench.steering.operations(cell),
                bench.model.token_ids([prompt.text for prompt in prompts]),
                [undosed[prompt.id].token_ids for prompt in prompts],
                batch_rows=size,
            ),
        )
        return [{"propagation": None if value is None else round(value, 6)}]
