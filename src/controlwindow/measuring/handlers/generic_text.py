"""What a change costs the model's own generic answers: read teacher-forced, or answered anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from controlwindow.behaviors import ScoredText
from controlwindow.cells import AnswerCell, CapabilityCell, OrdinaryCell, RetentionCell, Rows
from controlwindow.instruments.comparison import Compared, compare_passes
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.measuring.bench import Bench
from controlwindow.measuring.handlers.base import OneByOne, handles

_ROWS = 32


@handles(CapabilityCell)
class CapabilityHandler(OneByOne[CapabilityCell]):
    """Generic answers under a method of the comparison."""

    def rows_in(self, cell: CapabilityCell) -> int:
        """One row a generic prompt."""
        return len(self.bench.generic.prompts)

    def measure(self, cell: CapabilityCell) -> Rows:
        """One row for each answer that is not empty."""
        places, prompts, texts = generic_texts(self.bench)
        operations = self.bench.steering.row_operations(cell, prompts)

        def compare(chosen: slice, acting: RowOperations, size: int) -> list[Compared]:
            return compare_passes(self.bench.model, [acting], prompts[chosen], texts[chosen], batch_rows=size)[0]

        def work(size: int) -> list[Compared]:
            # Where operations depend on the prompt, every row is a batch of its own.
            if cell.method == "anchor":
                rows = range(len(prompts))
                return [row for i in rows for row in compare(slice(i, i + 1), operations[i], 1)]
            return compare(slice(None), operations[0], size)

        found = self.bench.sizes.fit("compared passes", _ROWS, work)
        return [_cost(place, row) for place, row in zip(places, found, strict=True)]


@handles(RetentionCell)
class RetentionHandler(OneByOne[RetentionCell]):
    """Generic answers under a circuit's change."""

    def rows_in(self, cell: RetentionCell) -> int:
        """One row a generic prompt."""
        return len(self.bench.generic.prompts)

    def measure(self, cell: RetentionCell) -> Rows:
        """One row for each answer that is not empty."""
        places, prompts, texts = generic_texts(self.bench)
        found = compared(self.bench, cell, prompts, texts)
        return [_cost(place, row, first=True) for place, row in zip(places, found, strict=True)]


@handles(OrdinaryCell)
class OrdinaryHandler(OneByOne[OrdinaryCell]):
    """Ordinary prompts answered anew under a circuit's change, and judged against the undosed answers."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._references: dict[int, list[ScoredText]] = {}

    def rows_in(self, cell: OrdinaryCell) -> int:
        """One row a generic prompt."""
        return len(self.bench.generic.prompts)

    def measure(self, cell: OrdinaryCell) -> Rows:
        """One row for each prompt."""
        bench, references = self.bench, self._generic_answers(cell.horizon)
        operations = bench.steering.operations(cell)
        rows = [
            Row(prompt, operations, reference.token_ids)
            for prompt, reference in zip(bench.generic.prompt_ids, references, strict=True)
        ]
        done = bench.sizes.fit(
            "rollouts",
            len(rows),
            lambda size: roll_out_rows(bench.model, rows, cell.horizon, batch_rows=size, progress=bench.progress),
        )
        scored = bench.score(bench.generic.prompt_ids, [row.token_ids for row in done])
        return [self._row(i, *texts) for i, texts in enumerate(zip(scored, references, strict=True))]

    def _row(self, place: int, text: ScoredText, reference: ScoredText) -> dict[str, Any]:
        assert self.bench.detector is not None
        judged = self.bench.detector.judge(text, reference)
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
            self._references[horizon] = self.bench.score(
                self.bench.generic.prompt_ids, [ids[:horizon] for ids in self.bench.generic.token_ids]
            )
        return self._references[horizon]


def generic_texts(bench: Bench) -> tuple[list[int], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Generic answers that are not empty: their numbers, their prompts and themselves, as token ids."""
    generic = bench.generic
    places = [place for place, text in enumerate(generic.token_ids) if len(text)]
    return places, [generic.prompt_ids[i] for i in places], [generic.token_ids[i] for i in places]


def compared(
    bench: Bench,
    cell: AnswerCell | RetentionCell,
    prompt_ids: Sequence[Sequence[int]],
    token_ids: Sequence[Sequence[int]],
    *,
    hold_attention: bool = False,
) -> list[Compared]:
    """Texts read under a cell's change."""
    operations = bench.steering.operations(cell)
    (found,) = bench.sizes.fit(
        "compared passes",
        _ROWS,
        lambda size: compare_passes(
            bench.model,
            [operations],
            prompt_ids,
            token_ids,
            hold_attention=hold_attention,
            batch_rows=size,
            progress=bench.progress,
        ),
    )
    return found


def _cost(place: int, row: Compared, *, first: bool = False) -> dict[str, Any]:
    """What a change costs one answer; on demand also whether its first token stays the likeliest."""
    return {
        "text": place,
        "tokens": row.tokens,
        "excess": round(row.excess, 6),
        "agreement": round(row.agreement, 6),
        **({"first_agrees": row.first_agrees} if first else {}),
        "divergence": round(row.divergence, 6),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
