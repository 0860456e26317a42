"""Retained capability and mean differences against loops over single prompts on plain models."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

import plain_generation
import tiny_families
import tiny_models
from controlwindow.instruments.capability import retained_capability
from controlwindow.instruments.contrast_directions import mean_differences
from controlwindow.instruments.operations import AblateDirection, Add, Inject, Pin, RowOperations
from controlwindow.models import Model

CASES = ["llama", "gpt2", "olmo2", "qwen2_moe"]


@pytest.mark.parametrize("case", CASES)
def test_likelihood_and_agreement_are_those_of_one_row_at_a_time(case: str) -> None:
    model = tiny_families.model(case)
    last = model.neurons.at(1, model.neurons.widths[1] - 2)
    prompts = model.token_ids(tiny_models.PROMPTS[:3])
    answers = [[7, 8, 9, 10], [11], [12, 13, 14]]
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2))
    operations: list[RowOperations] = [(), (Add(last, 3.0, "generated"),), (Pin(last, -2.0), Inject(0, vector))]
    found = retained_capability(model, prompts, answers, operations, batch_rows=2)
    for ids, answer, edits, mine in zip(prompts, answers, operations, found, strict=True):
        whole = torch.tensor([[*ids, *answer]])
        with torch.no_grad(), plain_generation.edited(model, edits, {}):
            if edits and edits[0].positions == "generated":
                # Positions count as generated from the last prompt position on, so the answer is read token by token.
                logits = _stepwise(model, ids, answer)
            else:
                logits = model.hf_model(whole, use_cache=False).logits[0, len(ids) - 1 : -1]
        scores = logits.log_softmax(-1)
        given = [float(scores[place, token]) for place, token in enumerate(answer)]
        assert mine.nll == pytest.approx(-np.mean(given), abs=1e-3)
        assert mine.agreement == pytest.approx(
            np.mean([int(scores[place].argmax()) == token for place, token in enumerate(answer)])
        )
        assert mine.tokens == len(answer)


def _stepwise(model: Model, ids: list[int], answer: list[int]) -> torch.Tensor:
    """Logits of an answer that is read token by token."""
    cache, found = DynamicCache(config=model.hf_model.config), []
    for read in [ids, *([token] for token in answer[:-1])]:
        # Newer versions call the argument otherwise.
        name = "cache" if "cache" in inspect.signature(model.hf_model.forward).parameters else "past_key_values"
        found.append(model.hf_model(torch.tensor([read]), use_cache=True, **{name: cache}).logits[0, -1])
    return torch.stack(found)


def test_an_ablated_direction_counts_in_teacher_forced_passes(llama: Model) -> None:
    prompts = llama.token_ids(tiny_models.PROMPTS[:2])
    vector = torch.randn(llama.d_model, generator=torch.Generator().manual_seed(2))
    plain = retained_capability(llama, prompts, [[5, 6], [7]], [(), ()])
    ablated = retained_capability(llama, prompts, [[5, 6], [7]], [(AblateDirection(vector),), ()])
    assert ablated[1] == pytest.approx(plain[1], abs=1e-5)
    assert ablated[0].nll != pytest.approx(plain[0].nll, abs=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_mean_differences_are_those_of_single_prompts(case: str) -> None:
    model = tiny_families.model(case)
    positive, negative = model.token_ids(tiny_models.PROMPTS[:3]), model.token_ids(tiny_models.PROMPTS[2:])
    sides: list[np.ndarray[Any, Any]] = []
    for side in (positive, negative):
        rows = []
        for ids in side:
            seen: list[torch.Tensor] = []

            def keep(_m: Any, _a: Any, output: Any, seen: list[torch.Tensor] = seen) -> None:
                seen.append((output[0] if isinstance(output, tuple) else output)[0, -1].double())

            handles = [tiny_models.block(model, layer).register_forward_hook(keep) for layer in range(model.layers)]
            tiny_models.forward(model, ids)
            for handle in handles:
                handle.remove()
            rows.append(torch.stack(seen).numpy())
        sides.append(np.mean(rows, axis=0))
    found = mean_differences(model, positive, negative, batch_rows=2)
    assert found == pytest.approx(sides[0] - sides[1], abs=1e-5)
