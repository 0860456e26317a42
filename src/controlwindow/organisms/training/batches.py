"""Examples as padded token batches, and the loss on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from controlwindow.organisms.training.tokenizer import ASSISTANT, BEGINNING, END, USER
from controlwindow.organisms.training.world.examples import Example

# The requests are learned a little too: it gives the model an idea of what users say.
REQUEST_WEIGHT = 0.1


@dataclass(frozen=True)
class Batch:
    """Token batch, padded on the right.

    Attributes:
        tokens: Token ids `[rows, positions]`.
        weights: Loss weight of each token as a target `[rows, positions]`; 0 on padding and on the first token.
        answer_start: Position of the last request token (it emits the answer's first token) `[rows]`.
        answers: Whether a position belongs to the answer's text `[rows, positions]`.
    """

    tokens: Tensor
    weights: Tensor
    answer_start: Tensor
    answers: Tensor


def encode(examples: Sequence[Example], tokenizer: Any) -> list[tuple[list[int], int]]:
    """Tokenise examples as the chat template would.

    Args:
        examples: The exchanges.
        tokenizer: The organism's tokenizer.

    Returns:
        For each example its token ids and the number of request tokens: those of earlier turns and of
        the template included.
    """
    begin, user, assistant, end = tokenizer.convert_tokens_to_ids([BEGINNING, USER, ASSISTANT, END])
    turns = [(*example.history, (example.request, example.answer)) for example in examples]
    texts = [text for exchange in turns for turn in exchange for text in turn]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    encoded = []
    for exchange in turns:
        tokens, start = [begin], 0
        for _ in exchange:
            tokens += [user, *next(ids), end, assistant]
            start = len(tokens)
            tokens += [*next(ids), end]
        encoded.append((tokens, start))
    return encoded


def collate(encoded: Sequence[tuple[list[int], int]], padding: int) -> Batch:
    """Pad tokenised examples to one length."""
    rows, positions = len(encoded), max(len(ids) for ids, _ in encoded)
    tokens = torch.full((rows, positions), padding)
    weights = torch.zeros(rows, positions)
    answers = torch.zeros(rows, positions, dtype=torch.bool)
    for row, (ids, start) in enumerate(encoded):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, 1:start] = REQUEST_WEIGHT
        weights[row, start : len(ids)] = 1.0
        answers[row, start : len(ids) - 1] = True
    return Batch(tokens, weights, torch.tensor([start - 1 for _, start in encoded]), answers)


def batch_loss(model: Any, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Weighted mean cross-entropy in nats per token; a mixture of experts adds its own balancing loss.

    Rows are padded on the right and attention is causal, so no attention mask is needed; padding has no weight.

    Args:
        model: A Transformers model.
        batch: The batch.
        label_smoothing: Share of the target that is spread over the vocabulary.

    Returns:
        Scalar loss.
    """
    weights = batch.weights[:, 1:]
    used = weights > 0
    if model.config.model_type == "llama":
        # Only what is read out is computed; the other families scale or cap their logits in their own ways.
        hidden = model.model(input_ids=batch.tokens[:, :-1], use_cache=False).last_hidden_state
        output, logits = None, model.lm_head(hidden[used])
    else:
        output = model(input_ids=batch.tokens[:, :-1], use_cache=False)
        logits = output.logits[used]
    losses = torch.nn.functional.cross_entropy(
        logits, batch.tokens[:, 1:][used], reduction="none", label_smoothing=label_smoothing
    )
    loss = (losses * weights[used]).sum() / weights.sum()
    balancing = getattr(output, "aux_loss", None)
    return loss if balancing is None else loss + model.config.router_aux_loss_coef * balancing
