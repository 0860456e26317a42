"""Runs the cells that circuits ask for: importance of neurons, directions, and effects on F without a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.pairs import PromptPair, prompt_pairs
from controlwindow.cells import (
    DirectionEffectCell,
    DirectionsCell,
    EffectCell,
    ImportanceCell,
    Rows,
    SetEffectCell,
)
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.effects import Reading, SetChange, injection_effects, set_effects
from controlwindow.instruments.memory import BatchSizes
from controlwindow.instruments.objectives import Objective
from controlwindow.instruments.perturbations import ffn_and_skip, perturbation_importance
from controlwindow.measuring.answers import Answers, Tally
from controlwindow.measuring.directions import measure_directions
from controlwindow.measuring.steering import Steering
from controlwindow.models import Model, Neuron
from controlwindow.statistics import bootstrap_indices, percentile_interval, stable_seed

_PAIR_ROWS = 32
_EFFECT_ROWS = 128

STABILITY_REPLICATES = 200
"""Bootstrap replicates of the ranking; each ranks every neuron anew."""

KEPT = 512
"""Neurons at the top whose I is kept pair by pair."""

Floats = NDArray[np.float64]
Measured = ImportanceCell | DirectionsCell | EffectCell

EFFECTS = (ImportanceCell, DirectionsCell, SetEffectCell, DirectionEffectCell)
"""The cells that are run here."""


@dataclass
class EffectRunner:
    """Measures cells of importance, directions and effects.

    Attributes:
        model: The model.
        behaviors: By name.
        steering: Turns cells into operations.
        sizes: Batches that fit into memory.
        progress: Called with rows done and rows in all.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    steering: Steering
    sizes: BatchSizes
    progress: Callable[[int, int], None] | None = None
    _answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        self._answers = Answers(self.model)

    def rows_in(self, cell: Measured) -> int:
        """Batch rows of a cell, where first tokens decide."""
        if isinstance(cell, DirectionsCell):
            return len(self.behaviors[cell.behavior].prompts(cell.split))
        pairs = len(self._pairs(cell))
        if isinstance(cell, SetEffectCell):
            return pairs * (len(cell.sizes) + 1 + (cell.operation == "patch"))
        return pairs * (1 + len(cell.strengths) if isinstance(cell, DirectionEffectCell) else 2)

    def run(self, cell: Measured) -> Rows:
        """Measure one cell."""
        if isinstance(cell, ImportanceCell):
            return [self._importance(cell)]
        if isinstance(cell, DirectionsCell):
            return [measure_directions(self.model, self.behaviors[cell.behavior], cell.split)]
        return self._set_effect(cell) if isinstance(cell, SetEffectCell) else self._direction_effect(cell)

    def _pairs(self, cell: ImportanceCell | EffectCell) -> list[PromptPair]:
        pairs = prompt_pairs(self.behaviors[cell.behavior], cell.split)
        if not cell.pairs:
            return list(pairs)
        by_id = {pair.id: pair for pair in pairs}
        return [by_id[name] for name in cell.pairs]

    def _read(
        self, cell: ImportanceCell | EffectCell
    ) -> tuple[list[PromptPair], list[tuple[list[int], list[int]]], list[Objective]]:
        """Pairs, their token ids and their objectives."""
        pairs = self._pairs(cell)
        prompts, mates = [pair.prompt.text for pair in pairs], [pair.perturbed.text for pair in pairs]
        encoded = list(zip(self.model.token_ids(prompts), self.model.token_ids(mates), strict=True))
        behavior = self.behaviors[cell.behavior]
        # Answers that F is made of are rollouts, read once for all cells; what is counted here are passes.
        return pairs, encoded, self._answers.first_objectives(behavior, prompts, mates, Tally())

    def _importance(self, cell: ImportanceCell) -> dict[str, Any]:
        tally = Tally()
        pairs, encoded, objectives = self._read(cell)
        values = np.zeros((len(pairs), len(self.model.neurons)), dtype=np.float32)
        found = self.sizes.fit(
            "perturbations",
            _PAIR_ROWS,
            lambda size: perturbation_importance(
                self.model,
                encoded,
                objectives,
                batch_rows=size,
                each=values.__setitem__,
                progress=self.progress,
            ),
        )
        tally.forward += found.sequences
        tally.tokens += found.tokens
        readouts = {objective: objective.readout(self.model) for objective in dict.fromkeys(objectives)}
        along = torch.stack([readouts[objective] for objective in objectives] * 2)
        sides = ffn_and_skip(self.model, [ids for side in (0, 1) for ids in (p[side] for p in encoded)], along)
        tally.forward += 2 * len(pairs)
        tally.tokens += sum(len(ids) for pair in encoded for ids in pair)
        ffn, skip = sides.ffn.reshape(2, -1), sides.skip.reshape(2, -1)
        order = np.argsort(-np.abs(found.mean), kind="stable")
        return {
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
            "cost": tally.to_row(),
        }

    def _set_effect(self, cell: SetEffectCell) -> Rows:
        tally = Tally()
        pairs, encoded, objectives = self._read(cell)
        change = SetChange(
            tuple(Neuron.parse(name) for name in cell.neurons),
            cell.sizes,
            cell.operation,
            cell.factor,
            cell.positions,
        )
        found = self.sizes.fit(
            "effects",
            _EFFECT_ROWS,
            lambda size: set_effects(self.model, encoded, objectives, change, batch_rows=size, progress=self.progress),
        )
        copies = len(cell.sizes) + 1
        self._count(tally, [ids for ids, _ in encoded], objectives, copies)
        if cell.operation == "patch":
            self._count(tally, [mate for _, mate in encoded], objectives, 1)
        rows: Rows = []
        for pair, effects in zip(pairs, found, strict=True):
            rows.append({"pair": pair.id, "size": 0, **_reading(effects.before)})
            for size, effect in zip(cell.sizes, effects.after, strict=True):
                direct = {f"direct_{name}": value for name, value in _reading(effect.direct).items()}
                rows.append({"pair": pair.id, "size": size, **_reading(effect.total), **direct})
        rows[0]["cost"] = tally.to_row()
        return rows

    def _direction_effect(self, cell: DirectionEffectCell) -> Rows:
        tally = Tally()
        pairs, encoded, objectives = self._read(cell)
        injections = [self.steering.injection(cell, strength) for strength in cell.strengths]
        prompts = [ids for ids, _ in encoded]
        found = self.sizes.fit(
            "effects",
            _EFFECT_ROWS,
            lambda size: injection_effects(
                self.model, prompts, objectives, injections, batch_rows=size, progress=self.progress
            ),
        )
        self._count(tally, prompts, objectives, 1 + len(injections))
        rows: Rows = [
            {"pair": pair.id, "strength": strength, **_reading(reading)}
            for pair, readings in zip(pairs, found, strict=True)
            for strength, reading in zip((0.0, *cell.strengths), readings, strict=True)
        ]
        rows[0]["cost"] = tally.to_row()
        return rows

    def _count(
        self, tally: Tally, prompts: Sequence[Sequence[int]], objectives: Sequence[Objective], copies: int
    ) -> None:
        for ids, objective in zip(prompts, objectives, strict=True):
            tally.forward += copies * len(objective.rows)
            tally.tokens += copies * sum(len(ids) + len(text) - 1 for text in objective.rows)


def _reading(reading: Reading) -> dict[str, float]:
    return {"linear": round(reading.linear, 6), "log_odds": round(reading.log_odds, 6)}


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
