from __future__ import annotations

import pytest
import torch

import tiny_models
from controlwindow.errors import ModelError
from controlwindow.instruments import Inject, rollout
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.proof import prove_hooks
from controlwindow.instruments.scoring import token_nll
from controlwindow.models import Model, load_model
from tiny_models import PROMPTS


def overflowing(dtype: torch.dtype = torch.float16, layer: int = 1) -> Model:
    """A Llama whose numbers are beyond half precision from one layer on, and whose weights all are finite."""
    in_hand = tiny_models.llama_in_hand().to(dtype)
    with torch.no_grad():
        in_hand.model.layers[layer].mlp.up_proj.weight.mul_(6e4 if dtype == torch.float16 else 1e38)
    return load_model(in_hand, tokenizer=tiny_models.tokenizer())


@pytest.mark.parametrize(("dtype", "wider"), [(torch.float16, "bfloat16 or float32"), (torch.bfloat16, "float32")])
def test_a_rollout_of_numbers_that_are_none_names_layer_type_and_repair(dtype: torch.dtype, wider: str) -> None:
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ModelError, match=f"not finite in {kind}, beginning in layer 1") as caught:
        rollout(overflowing(dtype), PROMPTS, [None], max_new_tokens=6)
    assert f"load it in {wider} " in caught.value.hint
    assert tiny_models.hook_count(overflowing(dtype)) == 0


def test_likelihoods_that_are_none_are_an_error() -> None:
    model = overflowing(layer=2)
    ids = model.token_ids(PROMPTS[:2])
    with pytest.raises(ModelError, match="beginning in layer 2"):
        token_nll(model, ids, [[5, 6], [7]])
    with pytest.raises(ModelError, match="beginning in layer 2"):
        forced_pass(model, [ForcedRow(tuple(ids[0]), (5, 6), ())])


def test_the_proof_does_not_blame_the_hooks() -> None:
    with pytest.raises(ModelError, match="not finite in float16, beginning in layer 0"):
        prove_hooks(overflowing(layer=0))


def test_an_operation_beyond_the_type_is_named_as_such() -> None:
    half = tiny_models.llama_in_hand().half()
    model = load_model(half, tokenizer=tiny_models.tokenizer())
    with pytest.raises(ModelError, match=r"beginning in layer 1 under the operation that was asked for"):
        rollout(model, PROMPTS, [None, Inject(1, torch.full((32,), 7e4))], max_new_tokens=4)
    assert tiny_models.hook_count(model) == 0
    assert rollout(model, PROMPTS, [None], max_new_tokens=4).token_ids[0][0]


def test_an_overflow_in_float32_asks_for_less() -> None:
    model = tiny_models.llama()
    with pytest.raises(ModelError, match="not finite in float32, beginning in layer 0 under the operation") as caught:
        rollout(
            model,
            PROMPTS[:1],
            [(Inject(0, torch.full((32,), 3e38)), Inject(0, torch.full((32,), 3e38)))],
            max_new_tokens=4,
        )
    assert "smaller dose" in caught.value.hint
