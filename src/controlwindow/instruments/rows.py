"""Batched rollouts with a KV cache: every row its own prompt and operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from controlwindow.errors import UsageError
from controlwindow.instruments.decoding import Decoding, RowRollout, StopWhen
from controlwindow.instruments.routes import Row
from controlwindow.models import Model

__all__ = ["Row", "RowRollout", "mean_coordinate", "roll_out_rows"]


def mean_coordinate(row: RowRollout) -> float:
    """Mean measured control coordinate of a rollout; NaN when none was measured."""
    return sum(row.coordinates) / len(row.coordinates) if row.coordinates else float("nan")


def roll_out_rows(
    model: Model,
    rows: Sequence[Row],
    max_new_tokens: int,
    *,
    batch_rows: int = 512,
    sample_seed: int | None = None,
    share: bool = True,
    stop_when: StopWhen | None = None,
    before_pass: Callable[[torch.Tensor], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[RowRollout]:
    """Roll out rows that need not share anything; returns them in the order given.

    Args:
        model: The model.
        rows: Prompts as token ids, each with its operations.
        max_new_tokens: Horizon in tokens.
        batch_rows: Most rows decoded together; the others are taken in as rows end.
        sample_seed: None decodes greedily; a seed samples at temperature 1.
        share: Whether rows that agree share layers. Off, every row is computed alone and every operation acts through
            hooks: the same tokens, slower; for tests and benchmarks.
        stop_when: Given a row's number and its tokens so far, whether nothing that may follow matters; asked every few
            tokens.
        before_pass: Called before each pass whose last position emits tokens, with the lanes of the first block's batch
            that have a row: without sharing and operations, a reader of residuals sees the generated positions there.
        progress: Called with rows done and rows in all.

    Raises:
        UsageError: A horizon below 1, or a prompt that leaves no room for it in the model's context.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    context = model.context
    longest = max((len(row.prompt_ids) for row in rows), default=0)
    # The last token is emitted and never read, so it needs no position.
    if context is not None and longest + max_new_tokens - 1 > context:
        raise UsageError(
            f"a prompt of {longest} tokens and {max_new_tokens} generated ones exceed the context of {model.name} "
            f"({context} tokens)",
            "shorten the prompt or the horizon",
        )
    decoding = Decoding(
        model,
        rows,
        max_new_tokens,
        batch_rows=batch_rows,
        sample_seed=sample_seed,
        share=share,
        stop_when=stop_when,
        before_pass=before_pass,
        progress=progress,
    )
    return decoding.run()
