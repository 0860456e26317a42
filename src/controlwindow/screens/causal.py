"""The causal screen (ours): every neuron is dosed, both ways, and judged by what that does to whole answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlwindow.cells import Cell, DosedCell, Rows
from controlwindow.instruments.arrays import unpack_array
from controlwindow.screens.base import Floats, Screen, register
from controlwindow.screens.perturbation import agreement

COORDINATE = 0.3
"""|c| of the doses: the lowest trigger that LAW reports, that of a switch.

At 0.45 the shift is no larger beside those of random neurons, and the damage is: it hides controllers whose own
direction costs much, and all of those in a stream that is mostly one vector, where 0.3 is a large dose already
(docs/screens.md).
"""


@dataclass(frozen=True)
class Stage:
    """One narrowing.

    Attributes:
        prompts: Prompts that answers are compared on, none of them used by an earlier stage.
        generic: Generic answers that damage is measured on.
        share: Share of all neurons that enters.
        least: Neurons that enter at the least.
        whole: Whether the dose acts where the behavior says. Otherwise it acts on generated positions, so that each
            prompt is read once for all neurons.
    """

    prompts: int
    generic: int
    share: float
    least: int
    whole: bool = False


STAGES = (
    Stage(prompts=2, generic=1, share=1.0, least=0),
    Stage(prompts=6, generic=4, share=1 / 16, least=64),
    Stage(prompts=16, generic=8, share=1 / 128, least=24, whole=True),
)


@register
class Causal(Screen):
    """Ranks by how far a dose at fixed |c| moves the log-odds of target against source answers, less its damage.

    For a prompt of X+ the source answer is the model's own undosed one, the target answer the sequence of [log_odds]
    that the undosed model finds least surprising there, else its undosed answer to the prompt of X− that belongs to
    it. Both are teacher-forced under the dose. Score, in nats: mean over prompts of the shift of
    log P(target) − log P(source), less the KL that the same dose costs an equal number of tokens of generic text. A
    finite dose, so neither the natural contrast nor the gradient need show the neuron.

    All neurons are judged on few prompts first; those that do best go on to prompts that no earlier stage has seen.
    A neuron's score is that of its last stage, and whoever came further ranks above. The sign is the better branch.
    """

    name = "causal"
    selects = True

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        count = len(self.model.neurons)
        self._stage = 0
        self._gain = np.full((count, 2), np.nan)
        self._agreement = np.full((count, 2), np.nan)
        self._reached = np.zeros(count, dtype=np.int64)
        self._entered: NDArray[np.int64] = np.arange(count)

    def next_cells(self) -> Sequence[Cell]:
        """One cell for each layer that still has neurons."""
        if self._stage == len(STAGES):
            return []
        stage = STAGES[self._stage]
        first = sum(earlier.prompts for earlier in STAGES[: self._stage])
        positions = self.behavior.positions if stage.whole else "generated"
        cells = []
        for layer, columns in self._by_layer().items():
            everyone = len(columns) == self.model.neurons.widths[layer]
            cells.append(
                DosedCell(
                    self.behavior.name,
                    self.split,
                    layer,
                    COORDINATE,
                    positions,
                    first,
                    min(stage.prompts, len(self.behavior.contrast(self.split).positive)),
                    min(stage.generic, len(self.generic.prompts)),
                    () if everyone else tuple(columns),
                )
            )
        return cells

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take one stage, and choose who goes on."""
        super().update(results)
        starts = np.cumsum([0, *self.model.neurons.widths])
        for cell in results:
            assert isinstance(cell, DosedCell)
            row = self.rows[cell]
            columns = list(cell.columns) or list(range(self.model.neurons.widths[cell.layer]))
            places = starts[cell.layer] + np.array(columns)
            shift = unpack_array(row["shift"])
            self._gain[places] = shift.mean(-1) - row["length"] * unpack_array(row["damage"])
            self._agreement[places] = agreement(shift.mean(-1), (shift**2).mean(-1))
            self._reached[places] = self._stage
        self._stage += 1
        if self._stage < len(STAGES):
            self._entered = self._best(STAGES[self._stage])

    def _best(self, stage: Stage) -> NDArray[np.int64]:
        count = min(len(self._entered), max(stage.least, round(stage.share * len(self.model.neurons))))
        gains = self._gain.max(1)
        if self.control == "random" and self._stage == 1:
            gains = gains[self.matched()]
        # A gain that is not finite is an error of the table, which covers all or none; it must not decide here.
        order = np.argsort(-np.nan_to_num(gains[self._entered], nan=-np.inf), kind="stable")
        return np.sort(self._entered[order[:count]])

    def _by_layer(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        starts = np.cumsum([0, *self.model.neurons.widths])
        layers = np.searchsorted(starts, self._entered, side="right") - 1
        for place, layer in zip(self._entered.tolist(), layers.tolist(), strict=True):
            found.setdefault(layer, []).append(int(place - starts[layer]))
        return found

    def scores(self) -> Floats:
        """The better branch's shift less its damage, in nats."""
        return np.asarray(self._gain.max(1))

    def signs(self) -> Floats:
        """The better branch."""
        return np.where(self._gain.argmax(1) == 0, 1.0, -1.0)

    def coherence(self) -> Floats:
        """|mean|/RMS of the shift over prompts on the better branch."""
        return np.asarray(np.take_along_axis(self._agreement, self._gain.argmax(1)[:, None], 1)[:, 0])

    def order(self) -> Floats:
        """The stage reached, then the score."""
        within = np.argsort(np.argsort(self.scores(), kind="stable"), kind="stable")
        return np.asarray(self._reached * len(within) + within, dtype=float)
