"""The causal screen (ours): every neuron is dosed, both ways, and judged by what that does to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from controlwindow.behaviors import Behavior
from controlwindow.cells import Cell, DosedCell, Rows, TurnCell
from controlwindow.instruments.arrays import unpack_array
from controlwindow.models import Model
from controlwindow.screens.base import Floats, Screen, register
from controlwindow.screens.perturbation import agreement
from controlwindow.screens.remainder import Remainder, draw_remainder, narrowing_recall


@dataclass(frozen=True)
class Stage:
    """One narrowing.

    Attributes:
        prompts: Prompts that answers are compared on, none of them used by an earlier stage.
        coordinate: |c| of the doses.
        share: Share of all neurons that enters.
        least: Neurons that enter at the least.
        most: Neurons that enter at the most; None for no limit.
        generic: Generic answers that damage is measured on; 0 where one token alone is dosed and read, at the position
            where source and target answer turn apart.
        whole: Whether the dose acts where the behavior says. Otherwise it acts on generated positions, so that each
            prompt is read once for all neurons.
    """

    prompts: int
    coordinate: float
    share: float
    least: int
    most: int | None = None
    generic: int = 0
    whole: bool = False


STAGES = (
    Stage(prompts=1, coordinate=0.45, share=1.0, least=0),
    Stage(prompts=3, coordinate=0.45, share=1 / 8, least=128),
    Stage(prompts=6, coordinate=0.3, share=1 / 32, least=64, most=64, generic=4),
    Stage(prompts=12, coordinate=0.3, share=1 / 64, least=24, most=24, generic=6, whole=True),
)
"""Two wide stages of one token, two narrow ones of whole answers.

|c| was chosen on half of the organisms among 0.3, 0.45 and 0.6: in one token, natural controllers are further above
closed neurons at 0.45 than at 0.3. Over whole answers 0.45 hides controllers whose own direction costs much, and all of
those in a stream that is mostly one vector, where 0.3 is a large dose already (docs/screens.md).
"""

LEFT_BEHIND = 64
"""One in so many of those that the first stage leaves behind goes on all the same, drawn at random."""


@register
class Causal(Screen):
    """Ranks by how far a dose at fixed |c| moves the model from its own answer to one of the target state.

    For a prompt of X+ the source answer is the model's own undosed one, the target answer the sequence of [log_odds]
    that the undosed model finds least surprising there, else its undosed answer to the prompt of X− that belongs to
    it. The wide stages dose the one position where the two turn apart, and read its next token: the shift of
    log P(target) − log P(source), and the fall of log P(source) alone, which needs no right target text. Score: the
    larger of the two, each less its median and over its standard deviation among all neurons of the first stage. The
    narrow stages teacher-force both answers. Score there, in nats: mean over prompts of the shift of
    log P(target) − log P(source), less the KL that the same dose costs an equal number of tokens of generic text. A
    finite dose, so neither the natural contrast nor the gradient need show the neuron.

    Those that do best go on to prompts that no earlier stage has seen, and with the first narrowing a random draw of
    those left behind, whose probabilities are the column `inclusion`: from them it is estimated what the narrowing
    loses. A neuron's score is that of its last stage (column `stage`), and whoever came further ranks above. Into the
    last stage and within it neurons are taken in turns by whole answers and by the one token. The sign is the better
    branch.
    """

    name = "causal"
    selects = True

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        count = len(self.model.neurons)
        self._stage = 0
        self._gain = np.full((count, 2), np.nan)
        self._wide = np.full(count, np.nan)
        self._agreement = np.full((count, 2), np.nan)
        self._reached = np.zeros(count, dtype=np.int64)
        self._entered: NDArray[np.int64] = np.arange(count)
        self._shifts: list[Floats] = []
        self._scales: list[tuple[float, float]] = []
        self._remainder = Remainder(np.zeros(0, dtype=np.int64), np.ones(count))
        self._layers = np.repeat(np.arange(self.model.layers), self.model.neurons.widths)
        self._starts = np.cumsum([0, *self.model.neurons.widths])

    @classmethod
    def expected_tokens(cls, model: Model, behavior: Behavior, prompt: float) -> float:
        """A position for every neuron, branch and prompt of the wide stages, whole answers in the narrow ones."""
        count, half = len(model.neurons), 0.5
        horizon = behavior.horizons[-1]
        tokens = 0.0
        for stage in STAGES:
            entered = min(max(stage.share * count, stage.least), stage.most or count)
            rows = 2 * entered * half
            if stage.generic:
                answers = 2 * horizon + (prompt if stage.whole else 0)
                tokens += rows * (stage.prompts * answers + stage.generic * (horizon + prompt))
            else:
                tokens += rows * stage.prompts
        return tokens

    def next_cells(self) -> Sequence[Cell]:
        """One cell for each layer that still has neurons."""
        if self._stage == len(STAGES):
            return []
        stage = STAGES[self._stage]
        first = sum(earlier.prompts for earlier in STAGES[: self._stage])
        prompts = min(stage.prompts, len(self.behavior.contrast(self.split).positive))
        cells: list[Cell] = []
        for layer, columns in self._by_layer().items():
            chosen = () if len(columns) == self.model.neurons.widths[layer] else tuple(columns)
            name, split, coordinate = self.behavior.name, self.split, stage.coordinate
            if not stage.generic:
                cells.append(TurnCell(name, split, layer, coordinate, first, prompts, chosen))
                continue
            positions = self.behavior.positions if stage.whole else "generated"
            generic = min(stage.generic, len(self.generic.prompts))
            cells.append(DosedCell(name, split, layer, coordinate, positions, first, prompts, generic, chosen))
        return cells

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take one stage, and choose who goes on."""
        super().update(results)
        wide = not STAGES[self._stage].generic
        if wide:
            self._take_turns(results)
        else:
            self._take_answers(results)
        self._reached[self._entered] = self._stage
        self._stage += 1
        if self._stage < len(STAGES):
            best = self._best(STAGES[self._stage])
            if self._stage == 1:
                self._remainder = draw_remainder(
                    self._layers, best, LEFT_BEHIND, self.behavior.name, self.split, self.control, self.seed
                )
                best = np.union1d(best, self._remainder.drawn)
            elif self._stage == 2:
                lost = narrowing_recall(self._remainder, best)
                if lost is not None:
                    self.notes.append(str(lost))
            self._entered = best

    def _take_turns(self, results: Mapping[Cell, Rows]) -> None:
        """Shifts of one more stage beside those of earlier ones, [quantities, neurons, branches, prompts]."""
        count = len(self.model.neurons)
        prompts = max(cell.prompts for cell in results if isinstance(cell, TurnCell))
        found = np.full((2, count, 2, prompts), np.nan)
        for cell in results:
            assert isinstance(cell, TurnCell)
            fall, rise = (unpack_array(self.rows[cell][name]) for name in ("fall", "rise"))
            found[:, self._places(cell.layer, cell.columns)] = np.stack([fall + rise, fall])
        self._shifts.append(found)
        entered = np.concatenate([part[:, self._entered] for part in self._shifts], -1)
        means = entered.mean(-1)
        if not self._scales:
            self._scales = [(float(np.median(m)), float(np.std(m)) or 1.0) for m in means]
        middle, spread = (np.array(part)[:, None, None] for part in zip(*self._scales, strict=True))
        heights = (means - middle) / spread
        larger = heights.argmax(0)[None]
        self._gain[self._entered] = heights.max(0)
        self._wide[self._entered] = heights.max((0, 2))
        agreements = agreement(means, (entered**2).mean(-1))
        self._agreement[self._entered] = np.take_along_axis(agreements, larger, 0)[0]

    def _take_answers(self, results: Mapping[Cell, Rows]) -> None:
        for cell in results:
            assert isinstance(cell, DosedCell)
            row, places = self.rows[cell], self._places(cell.layer, cell.columns)
            shift = unpack_array(row["shift"])
            self._gain[places] = shift.mean(-1) - row["length"] * unpack_array(row["damage"])
            self._agreement[places] = agreement(shift.mean(-1), (shift**2).mean(-1))

    def _places(self, layer: int, columns: Sequence[int]) -> NDArray[np.int64]:
        return np.asarray(self._starts[layer] + np.array(columns or range(self.model.neurons.widths[layer])))

    def _best(self, stage: Stage) -> NDArray[np.int64]:
        count = max(stage.least, round(stage.share * len(self.model.neurons)))
        count = min(len(self._entered), count, stage.most or count)
        gains = self._gain.max(1)
        if self.control == "random" and self._stage == 1:
            gains = gains[self.matched()]
        return np.sort(self._in_turns(gains)[:count])

    def _in_turns(self, gains: Floats) -> NDArray[np.int64]:
        """Who entered, best first: after whole answers in turns by those and by what one token said before.

        Each judge misses what the other finds: whole answers a controller that changes ordinary text as well, one
        token a controller whose effect grows with the answer.
        """
        ways = [gains[self._entered]]
        wide = self._wide[self._entered]
        if STAGES[self._stage - 1].generic and np.isfinite(wide).all():
            ways.append(wide)
        # A gain that is not finite is an error of the table, which covers all or none; it must not decide here.
        orders = [np.argsort(-np.nan_to_num(way, nan=-np.inf), kind="stable") for way in ways]
        return np.asarray(self._entered[list(dict.fromkeys(np.stack(orders, 1).ravel().tolist()))])

    def _by_layer(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, layer in zip(self._entered.tolist(), self._layers[self._entered].tolist(), strict=True):
            found.setdefault(layer, []).append(int(place - self._starts[layer]))
        return found

    def scores(self) -> Floats:
        """The better branch's score in its last stage."""
        return np.asarray(self._gain.max(1))

    def signs(self) -> Floats:
        """The better branch."""
        return np.where(self._gain.argmax(1) == 0, 1.0, -1.0)

    def coherence(self) -> Floats:
        """|mean|/RMS of the shift over prompts on the better branch."""
        return np.asarray(np.take_along_axis(self._agreement, self._gain.argmax(1)[:, None], 1)[:, 0])

    def order(self) -> Floats:
        """The stage reached, then the score; in the last stage in turns with what one token said."""
        within = np.argsort(np.argsort(self.scores(), kind="stable"), kind="stable")
        last = self._in_turns(self._gain.max(1))
        within[last] = len(last) - np.arange(len(last))
        return np.asarray(self._reached * (len(within) + 1) + within, dtype=float)

    def extra(self) -> dict[str, pl.Series]:
        """The last stage of each neuron, from 1, and the probability with which it entered the second."""
        return {"stage": pl.Series(self._reached + 1), "inclusion": pl.Series(self._remainder.inclusion)}
