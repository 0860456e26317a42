"""Plain greedy answers under doses, for checking an organism while it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from controlwindow.models.chat import messages_of
from controlwindow.organisms.training.interventions import RowDose, intervened


@torch.no_grad()
def answers(
    model: Any,
    tokenizer: Any,
    requests: Sequence[str],
    norms: Tensor,
    dose: Callable[[int], RowDose] | None = None,
    maximum_tokens: int = 96,
) -> list[str]:
    """Answer requests greedily, all in one batch, with the same dose at all positions of every row.

    Args:
        model: The organism.
        tokenizer: Its tokenizer.
        requests: User messages, or conversations (`models.chat.conversation`).
        norms: Residual norms `[layers]`.
        dose: Makes the dose of a row from its number; nothing is done if absent.
        maximum_tokens: Longest answer.

    Returns:
        The answers, without special tokens.
    """
    texts = [
        tokenizer.apply_chat_template(messages_of(request), tokenize=False, add_generation_prompt=True)
        for request in requests
    ]
    inputs = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    doses = [dose(row) for row in range(len(requests))] if dose else []
    with intervened(model, doses, norms):
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=maximum_tokens,
        )
    return [
        str(text)
        for text in tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ]
