"""Scoring: log-likelihoods of given tokens under the undosed model."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import functional

from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model


def token_nll(
    model: Model,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    batch_rows: int = 128,
) -> list[list[float]]:
    """Negative log-likelihood in nats of each continuation token given prompt and earlier tokens, undosed.

    Args:
        model: The model.
        prompts: Prompt token ids, one per row.
        continuations: Continuation token ids, one per row; an empty one gives an empty list.
        batch_rows: Rows per pass. Rows are sorted by length first, so that little is padded.

    Returns:
        One list per row, one value per continuation token.
    """
    result: list[list[float]] = [[] for _ in prompts]
    order = sorted(
        (row for row, tokens in enumerate(continuations) if tokens),
        key=lambda row: (len(continuations[row]), len(prompts[row]), row),
    )
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        packed = pack(model, [prompts[row] for row in rows], [continuations[row] for row in rows])
        with measuring(model):
            logits = packed.logits(model).float().transpose(1, 2)
            nll = functional.cross_entropy(logits, packed.targets, reduction="none").cpu()
        for row, values in zip(rows, nll, strict=True):
            result[row] = values[: len(continuations[row])].tolist()
    return result
