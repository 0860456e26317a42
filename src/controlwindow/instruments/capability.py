"""What an intervention costs on text that has nothing to do with the behavior: the model's own generic answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model


class Retained(NamedTuple):
    """How an intervened model reads one of its own undosed answers, teacher-forced.

    Attributes:
        nll: Mean negative log-likelihood of the answer's tokens, nats a token; its exponential is the perplexity.
        agreement: Share of the tokens that are still the most likely ones.
        tokens: Tokens of the answer.
    """

    nll: float
    agreement: float
    tokens: int


def retained_capability(
    model: Model,
    prompt_ids: Sequence[Sequence[int]],
    token_ids: Sequence[Sequence[int]],
    operations: Sequence[RowOperations],
    *,
    batch_rows: int = 32,
) -> list[Retained]:
    """Score given answers under each row's operations.

    Args:
        model: The model.
        prompt_ids: Prompts as token ids.
        token_ids: The undosed answer to each, at least one token.
        operations: What happens to each row; empty for the undosed model.
        batch_rows: Rows a pass.

    Returns:
        One result a row.

    Raises:
        NeuronError: A neuron lies outside the model.
    """
    found = []
    for start in range(0, len(prompt_ids), batch_rows):
        chosen = slice(start, start + batch_rows)
        packed = pack(model, prompt_ids[chosen], token_ids[chosen])
        with measuring(model), Intervention(model, operations[chosen]) as intervention:
            intervention.first_generated = packed.first_generated
            scores = packed.logits(model).float().log_softmax(-1)
        emitting = packed.emitting
        counts = emitting.sum(-1)
        given = scores.gather(-1, packed.targets[..., None])[..., 0].double()
        nll = -(given * emitting).sum(-1) / counts
        hits = ((scores.argmax(-1) == packed.targets) & emitting).sum(-1)
        agreement = hits.double() / counts
        rows = zip(nll.tolist(), agreement.tolist(), counts.tolist(), strict=True)
        found += [Retained(*row) for row in rows]
    return found
