"""Batched greedy rollouts with a KV cache: every row its own prompt and operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger

import torch

from controlwindow.errors import UsageError
from controlwindow.instruments.decoding import Decoding, RowRollout, StopWhen
from controlwindow.instruments.operations import Operation, row_operations
from controlwindow.instruments.routes import Row
from controlwindow.models import Model
from controlwindow.models.structure import foreign_hooks

_log = getLogger(__name__)

__all__ = ["Rollouts", "Row", "RowRollout", "mean_coordinate", "roll_out_rows", "rollout"]


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of every dose on every prompt; `[d][p]` is dose d on prompt p.

    Attributes:
        texts: Generated text without special tokens.
        token_ids: Generated tokens, the stop token included.
        control_coordinate: Mean measured control coordinate over generated positions; NaN for undosed rows.
        control_coordinates: The same, position by position.
        ties: Positions whose top-two margin was below `TIE_MARGIN`.
    """

    texts: list[list[str]]
    token_ids: list[list[list[int]]]
    control_coordinate: list[list[float]]
    control_coordinates: list[list[list[float]]]
    ties: list[list[int]]


def rollout(
    model: Model,
    prompts: Sequence[str] | str,
    doses: Sequence[Operation | Sequence[Operation] | None] | Operation | None,
    max_new_tokens: int = 32,
    *,
    batch_rows: int = 512,
    sample_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rollouts:
    """Roll out every dose on every prompt.

    Args:
        model: The model.
        prompts: User prompts; the chat template is applied. A text is one prompt.
        doses: One entry per dose: an operation, several, or None for the undosed model. An operation by itself, or
            None, is one dose.
        max_new_tokens: Horizon in tokens.
        batch_rows: Rows per batch.
        sample_seed: None decodes greedily; a seed samples at temperature 1.
        progress: Called with rows done and rows in all.

    Returns:
        Texts, tokens and measured control coordinates, indexed `[dose][prompt]`.

    Raises:
        UsageError: No prompts or doses, a horizon below 1, or more tokens than the model's context holds.
        OperationError: What stands for a dose is none.
        NeuronError: A neuron lies outside the model.
        ModelError: The model gives numbers that are not finite.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> out = cw.rollout(model, ["Hello."], [None, cw.Dose("L3.N7", 0.5)], max_new_tokens=4)
        >>> len(out.token_ids), len(out.token_ids[0][0]) <= 4
        (2, True)
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise UsageError("no prompts were given")
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"the prompt {text!r} is {type(text).__name__}, not a text"[:200], "give a list of texts")
    if doses is None or isinstance(doses, Operation):
        doses = [doses]
    if not isinstance(doses, Sequence) or not len(doses):
        raise UsageError(f"no doses were given, but {doses!r}"[:200], "give [None] for the undosed model")
    operations = [row_operations(dose) for dose in doses]
    model.check_kept()
    for hook in foreign_hooks(model.hf_model):
        _log.warning("%s: %s; it acts on every rollout", model.name, hook)
    encoded = model.token_ids(texts)
    rows = [Row(tuple(ids), dose) for dose in operations for ids in encoded]
    done = roll_out_rows(model, rows, max_new_tokens, batch_rows=batch_rows, sample_seed=sample_seed, progress=progress)
    by_dose = [done[start : start + len(texts)] for start in range(0, len(done), len(texts))]
    return Rollouts(
        texts=[[model.decode(row.token_ids) for row in group] for group in by_dose],
        token_ids=[[list(row.token_ids) for row in group] for group in by_dose],
        control_coordinate=[[mean_coordinate(row) for row in group] for group in by_dose],
        control_coordinates=[[list(row.coordinates) for row in group] for group in by_dose],
        ties=[[row.ties for row in group] for group in by_dose],
    )


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
