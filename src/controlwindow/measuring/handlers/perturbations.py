"""PP's importance of every neuron: over the perturbation pairs of a behavior, or over the pairs of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.cells import ImportanceCell, PerturbationCell, Rows
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.perturbations import ffn_and_skip, perturbation_importance
from controlwindow.measuring.handlers.base import OneByOne, handles
from controlwindow.measuring.handlers.effects import cell_pairs, read_pairs
from controlwindow.statistics import bootstrap_indices, percentile_interval, stable_seed

_ROWS = 32

STABILITY_REPLICATES = 200
"""Bootstrap replicates of the ranking; each ranks every neuron anew."""

KEPT = 512
"""Neurons at the top whose I is kept pair by pair."""


@handles(PerturbationCell)
class PerturbationHandler(OneByOne[PerturbationCell]):
    """Importance as a screen reads it."""

    def rows_in(self, cell: PerturbationCell) -> int:
        """Two rows a pair."""
        return 2 * len(self.bench.behaviors[cell.behavior].perturbation_pairs())

    def measure(self, cell: PerturbationCell) -> Rows:
        """Mean and mean square of I over pairs, all layers in a row, and what each pair does to F."""
        behavior, cost = self.bench.behaviors[cell.behavior], Cost()
        pairs = behavior.perturbation_pairs()
        prompts, others = [one for one, _ in pairs], [other for _, other in pairs]
        encoded = list(zip(self.bench.model.token_ids(prompts), self.bench.model.token_ids(others), strict=True))
        objectives = self.bench.answers.objectives(behavior, prompts, others, cost)
        found = self.bench.sizes.fit(
            "perturbations",
            _ROWS,
            lambda size: perturbation_importance(
                self.bench.model, encoded, objectives, batch_rows=size, progress=self.bench.progress
            ),
        )
        cost.forward += found.sequences
        cost.tokens += found.tokens
        return [
            {
                "mean": pack_array(found.mean),
                "mean_square": pack_array(found.mean_square),
                "pairs": [{**pair._asdict(), "flips": pair.flips} for pair in found.pairs],
                "cost": cost.to_row(),
            }
        ]


@handles(ImportanceCell)
class ImportanceHandler(OneByOne[ImportanceCell]):
    """Importance with how far its ranking can be trusted."""

    def rows_in(self, cell: ImportanceCell) -> int:
        """Two rows a pair."""
        return 2 * len(cell_pairs(self.bench, cell))

    def measure(self, cell: ImportanceCell) -> Rows:
        """I of every neuron, how stable its ranking is, and what FFN and skip of the last block do to F."""
        cost = Cost()
        pairs, encoded, objectives = read_pairs(self.bench, cell)
        values = np.zeros((len(pairs), len(self.bench.model.neurons)), dtype=np.float32)
        found = self.bench.sizes.fit(
            "perturbations",
            _ROWS,
            lambda size: perturbation_importance(
                self.bench.model,
                encoded,
                objectives,
                batch_rows=size,
                each=values.__setitem__,
                progress=self.bench.progress,
            ),
        )
        cost.forward += found.sequences
        cost.tokens += found.tokens
        readouts = {objective: objective.readout(self.bench.model) for objective in dict.fromkeys(objectives)}
        along = torch.stack([readouts[objective] for objective in objectives] * 2)
        sides = ffn_and_skip(self.bench.model, [ids for side in (0, 1) for ids in (p[side] for p in encoded)], along)
        cost.forward += 2 * len(pairs)
        cost.tokens += sum(len(ids) for pair in encoded for ids in pair)
        ffn, skip = sides.ffn.reshape(2, -1), sides.skip.reshape(2, -1)
        order = np.argsort(-np.abs(found.mean), kind="stable")
        return [
            {
                "mean": pack_array(found.mean),
                "mean_square": pack_array(found.mean_square),
                "top": [int(place) for place in order[:KEPT]],
                "top_values": pack_array(values[:, order[:KEPT]]),
                "stability": _stability(values, cell.ladder, stable_seed("stability", cell.behavior, cell.seed)),
                "first_tokens": all(objective.first_tokens for objective in objectives),
                "pairs": [
                    {
                        "pair": pair.id,
                        "same": pair.prompt.text == pair.perturbed.text,
                        **effect._asdict(),
                        "flips": effect.flips,
                        "ffn": [float(ffn[0, i]), float(ffn[1, i])],
                        "skip": [float(skip[0, i]), float(skip[1, i])],
                    }
                    for i, (pair, effect) in enumerate(zip(pairs, found.pairs, strict=True))
                ],
                "cost": cost.to_row(),
            }
        ]


def _stability(values: NDArray[np.float32], ladder: Sequence[int], seed: int) -> list[dict[str, Any]]:
    """How much of the top k by |mean I| is there again when pairs are resampled, for each k of the ladder."""
    mean = np.abs(values.mean(0))
    sizes = [size for size in ladder if size <= len(mean)]
    first = np.argsort(-mean, kind="stable")
    shares = np.zeros((STABILITY_REPLICATES, len(sizes)))
    for row, drawn in enumerate(bootstrap_indices(len(values), STABILITY_REPLICATES, seed)):
        # Counting how often each pair was drawn spares a copy of the whole matrix.
        weights = np.bincount(drawn, minlength=len(values)).astype(np.float32)
        again = np.argsort(-np.abs(weights @ values), kind="stable")
        shares[row] = [len(np.intersect1d(first[:size], again[:size])) / size for size in sizes]
    return [
        {
            "size": size,
            "overlap": float(shares[:, place].mean()),
            "interval": list(percentile_interval(shares[:, place])),
            "chance": size / len(mean),
        }
        for place, size in enumerate(sizes)
    ]
