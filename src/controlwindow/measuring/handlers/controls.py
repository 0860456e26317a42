"""Runs the cells of a circuit's controls: what a change moves, costs and does, beside its rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from controlwindow.behaviors import Behavior, CoherenceDetector, Prompt, ScoredText
from controlwindow.behaviors.prompts import Contrast, Split
from controlwindow.cells import (
    AnswerCell,
    DetectionCell,
    MoveCell,
    OrdinaryCell,
    RetentionCell,
)
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.attention import layer_moves
from controlwindow.instruments.comparison import Compared, compare_passes
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.gradients import last_activations
from controlwindow.instruments.memory import BatchSizes
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.routes import Row
from controlwindow.instruments.rows import roll_out_rows
from controlwindow.instruments.scoring import token_nll
from controlwindow.measuring.answers import Answers, Tally, partners
from controlwindow.measuring.steering import change_operations
from controlwindow.models import Model, Neuron

_ROWS = 32
_SCORED_ROWS = 128

MeasuredCell = MoveCell | AnswerCell | RetentionCell | OrdinaryCell | DetectionCell
"""Cells that this runner measures; a `PushCell` is a rollout like others."""

MEASURED = (MoveCell, AnswerCell, RetentionCell, OrdinaryCell, DetectionCell)

MOVED_PROMPTS = 16
"""Most undosed answers that a move is measured on: it is a median over all of their positions."""


class Undosed(Protocol):
    """Gives the undosed rollouts of a split by prompt id."""

    def __call__(self, behavior: str, split: Split, horizon: int) -> Mapping[str, ScoredText]:
        """Look them up."""


@dataclass
class ControlRunner:
    """Measures the cells of controls.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass.
        sizes: Batches that fit into memory.
        undosed: Where undosed rollouts come from.
        progress: Called with rows done and rows in all.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    sizes: BatchSizes
    undosed: Undosed
    progress: Callable[[int, int], None] | None = None
    _answers: Answers = field(init=False)
    _references: dict[int, list[ScoredText]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._answers = Answers(self.model)

    def rows_in(self, cell: MeasuredCell) -> int:
        """Batch rows of a cell."""
        if isinstance(cell, RetentionCell | OrdinaryCell):
            return len(self.generic.prompts)
        if isinstance(cell, DetectionCell):
            contrast = self.behaviors[cell.behavior].contrast(cell.split)
            return len(contrast.positive) + len(contrast.negative)
        return len(cell.prompts) or len(self.behaviors[cell.behavior].prompts(cell.split))

    def run(self, cell: MeasuredCell, detector: CoherenceDetector | None) -> list[dict[str, Any]]:
        """Measure one cell; rollouts of ordinary prompts are judged by the detector."""
        match cell:
            case MoveCell():
                return [self._moves(cell)]
            case AnswerCell():
                return self._shifts(cell)
            case RetentionCell():
                return self._retained(cell)
            case OrdinaryCell():
                assert detector is not None
                return self._ordinary(cell, detector)
            case DetectionCell():
                return [self._activations(cell)]

    def _prompts(self, cell: MoveCell | AnswerCell) -> list[Prompt]:
        prompts = self.behaviors[cell.behavior].prompts(cell.split)
        by_id = {prompt.id: prompt for prompt in prompts}
        return [by_id[name] for name in cell.prompts] if cell.prompts else list(prompts)

    def _moves(self, cell: MoveCell) -> dict[str, Any]:
        behavior, prompts = self.behaviors[cell.behavior], self._prompts(cell)[:MOVED_PROMPTS]
        undosed = self.undosed(cell.behavior, cell.split, behavior.horizons[-1])
        operations = change_operations(self.model, cell)
        ids = self.model.token_ids([prompt.text for prompt in prompts])
        texts = [undosed[prompt.id].token_ids for prompt in prompts]
        found = self.sizes.fit(
            "moves",
            _ROWS,
            lambda size: layer_moves(self.model, operations, ids, texts, positions=cell.positions, batch_rows=size),
        )
        return {"layers": list(found), "sizes": [round(value, 6) for value in found.values()]}

    def _shifts(self, cell: AnswerCell) -> list[dict[str, Any]]:
        """Δ(log P(target answer) − log P(source answer)) of each prompt, in nats."""
        behavior, prompts = self.behaviors[cell.behavior], self._prompts(cell)
        mates = partners(prompts, _contrast(behavior, cell.split).negative)
        pairs = self._answers.pairs(behavior, prompts, mates, Tally())
        texts = [(pair.prompt_ids, text) for pair in pairs for text in (pair.target, pair.source)]
        found = self._compared(
            change_operations(self.model, cell), [p for p, _ in texts], [t for _, t in texts], cell.hold_attention
        )
        rows = []
        for place, prompt in enumerate(prompts):
            target, source = (row.undosed_nll - row.nll for row in found[2 * place : 2 * place + 2])
            rows.append(
                {
                    "prompt": prompt.id,
                    "shift": round(target - source, 6),
                    "target": round(target, 6),
                    "source": round(source, 6),
                }
            )
        return rows

    def _compared(
        self,
        operations: RowOperations,
        prompt_ids: Sequence[Sequence[int]],
        token_ids: Sequence[Sequence[int]],
        hold_attention: bool = False,
    ) -> list[Compared]:
        (found,) = self.sizes.fit(
            "compared passes",
            _ROWS,
            lambda size: compare_passes(
                self.model,
                [operations],
                prompt_ids,
                token_ids,
                hold_attention=hold_attention,
                batch_rows=size,
                progress=self.progress,
            ),
        )
        return found

    def _retained(self, cell: RetentionCell) -> list[dict[str, Any]]:
        places = [place for place, text in enumerate(self.generic.token_ids) if len(text)]
        found = self._compared(
            change_operations(self.model, cell),
            [self.generic.prompt_ids[place] for place in places],
            [self.generic.token_ids[place] for place in places],
        )
        return [
            {
                "text": place,
                "tokens": row.tokens,
                "excess": round(row.excess, 6),
                "agreement": round(row.agreement, 6),
                "first_agrees": row.first_agrees,
                "divergence": round(row.divergence, 6),
            }
            for place, row in zip(places, found, strict=True)
        ]

    def _ordinary(self, cell: OrdinaryCell, detector: CoherenceDetector) -> list[dict[str, Any]]:
        references = self._generic_answers(cell.horizon)
        operations = change_operations(self.model, cell)
        rows = [
            Row(prompt, operations, reference.token_ids)
            for prompt, reference in zip(self.generic.prompt_ids, references, strict=True)
        ]
        done = self.sizes.fit(
            "rollouts",
            len(rows),
            lambda size: roll_out_rows(self.model, rows, cell.horizon, batch_rows=size, progress=self.progress),
        )
        scored = self._scored([row.token_ids for row in done])
        return [
            self._ordinary_row(place, text, reference, detector)
            for place, (text, reference) in enumerate(zip(scored, references, strict=True))
        ]

    def _ordinary_row(
        self, place: int, text: ScoredText, reference: ScoredText, detector: CoherenceDetector
    ) -> dict[str, Any]:
        judged = detector.judge(text, reference)
        pairs = zip(text.token_ids, reference.token_ids, strict=False)
        shorter = min(len(text.token_ids), len(reference.token_ids))
        common = next((step for step, (a, b) in enumerate(pairs) if a != b), shorter)
        return {
            "text": place,
            "same": text.token_ids == reference.token_ids,
            "common": round(common / max(len(reference.token_ids), 1), 6),
            "excess": round(_mean(text.surprisals) - _mean(reference.surprisals), 6),
            "collapsed": judged.collapsed,
        }

    def _generic_answers(self, horizon: int) -> list[ScoredText]:
        if horizon not in self._references:
            self._references[horizon] = self._scored([ids[:horizon] for ids in self.generic.token_ids])
        return self._references[horizon]

    def _scored(self, token_ids: Sequence[Sequence[int]]) -> list[ScoredText]:
        """Answers to the generic prompts with their surprisal under the undosed model; the stop token is left out."""
        contents = [tuple(t for t in tokens if t not in self.model.stop_ids) for tokens in token_ids]
        surprisals = self.sizes.fit(
            "scoring",
            _SCORED_ROWS,
            lambda size: token_nll(self.model, self.generic.prompt_ids, contents, batch_rows=size),
        )
        return [
            ScoredText(ids, tuple(values), self.model.decode(ids))
            for ids, values in zip(contents, surprisals, strict=True)
        ]

    def _activations(self, cell: DetectionCell) -> dict[str, Any]:
        contrast = self.behaviors[cell.behavior].contrast(cell.split)
        row = {}
        neurons = [Neuron.parse(name) for name in cell.neurons]
        for name, side in (("positive", contrast.positive), ("negative", contrast.negative)):
            found = last_activations(self.model, self.model.token_ids([prompt.text for prompt in side]))
            chosen = [found[neuron.layer][:, self.model.neurons.column(neuron)] for neuron in neurons]
            row[name] = pack_array(np.stack(chosen, 1))
        return row


def _contrast(behavior: Behavior, split: Split) -> Contrast:
    """The split's own contrast, or the find split's where it has none: prompts whose answers are borrowed.

    Raises:
        ScreenError: There is none.
    """
    for name in (split, "find"):
        try:
            return behavior.contrast(name)
        except BehaviorError:
            continue
    raise ScreenError(
        f"behavior '{behavior.name}' has no contrast, so no target answer is known",
        "add negative prompts to a split, or to [contrast]",
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
