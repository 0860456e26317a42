"""A circuit's controls without a rollout: how far a change moves the residual, and what it does to given answers."""

from __future__ import annotations

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import Contrast, Split
from controlwindow.cells import AnswerCell, MoveCell, Rows
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.instruments.attention import layer_moves
from controlwindow.instruments.cost import Cost
from controlwindow.measuring.answers import partners
from controlwindow.measuring.handlers.base import OneByOne, handles
from controlwindow.measuring.handlers.generic_text import compared

_ROWS = 32

MOVED_PROMPTS = 16
"""Most undosed answers that a move is measured on: it is a median over all of their positions."""


@handles(MoveCell)
class MoveHandler(OneByOne[MoveCell]):
    """How far a change moves the residual stream of each layer by itself."""

    def rows_in(self, cell: MoveCell) -> int:
        """One row a prompt."""
        return len(self.bench.prompts(cell))

    def measure(self, cell: MoveCell) -> Rows:
        """The median move of each layer."""
        behavior, prompts = self.bench.behaviors[cell.behavior], self.bench.prompts(cell)[:MOVED_PROMPTS]
        undosed = self.bench.undosed(cell.behavior, cell.split, behavior.horizons[-1])
        operations = self.bench.steering.operations(cell)
        ids = self.bench.model.token_ids([prompt.text for prompt in prompts])
        texts = [undosed[prompt.id].token_ids for prompt in prompts]
        found = self.bench.sizes.fit(
            "moves",
            _ROWS,
            lambda size: layer_moves(
                self.bench.model, operations, ids, texts, positions=cell.positions, batch_rows=size
            ),
        )
        return [{"layers": list(found), "sizes": [round(value, 6) for value in found.values()]}]


@handles(AnswerCell)
class AnswerHandler(OneByOne[AnswerCell]):
    """What a change does to the log-odds of the target answer against the source answer."""

    def rows_in(self, cell: AnswerCell) -> int:
        """One row a prompt."""
        return len(self.bench.prompts(cell))

    def measure(self, cell: AnswerCell) -> Rows:
        """Δ(log P(target answer) − log P(source answer)) of each prompt, in nats."""
        behavior, prompts = self.bench.behaviors[cell.behavior], self.bench.prompts(cell)
        mates = partners(prompts, _contrast(behavior, cell.split).negative)
        pairs = self.bench.answers.pairs(behavior, prompts, mates, Cost())
        texts = [(pair.prompt_ids, text) for pair in pairs for text in (pair.target, pair.source)]
        found = compared(
            self.bench, cell, [p for p, _ in texts], [t for _, t in texts], hold_attention=cell.hold_attention
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
