"""Rotary tables that change with a batch's length: rows stay what they are alone, or the length is refused."""

from __future__ import annotations

import doctest

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

import tiny_models
from controlwindow import load_model, rollout
from controlwindow.errors import UsageError
from controlwindow.models import Model, positions

ORIGINAL = 32


@pytest.fixture(scope="module")
def stretched() -> Model:
    """A random Phi-3 whose frequencies change beyond 32 positions."""
    tokenizer = tiny_models.tokenizer()
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4 * ORIGINAL,
        original_max_position_embeddings=ORIGINAL,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.3,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [7.0] * 4,
            "original_max_position_embeddings": ORIGINAL,
        },
    )
    torch.manual_seed(0)
    return load_model(Phi3ForCausalLM(config).eval(), tokenizer=tokenizer)


def test_examples() -> None:
    assert doctest.testmod(positions).failed == 0


def test_rows_up_to_the_original_length_are_what_they_are_alone(stretched: Model) -> None:
    assert stretched.context == ORIGINAL
    prompts = ["bread", " ".join(["bread"] * 20)]
    together = rollout(stretched, prompts, [None], max_new_tokens=6)
    alone = [rollout(stretched, prompt, None, max_new_tokens=6).token_ids[0][0] for prompt in prompts]
    assert together.token_ids[0] == alone


@pytest.mark.parametrize("words", [40, 30])
def test_a_length_at_which_frequencies_change_is_refused(stretched: Model, words: int) -> None:
    with pytest.raises(UsageError, match=r"exceed the context of .* \(32 tokens\)"):
        rollout(stretched, ["bread", " ".join(["bread"] * words)], [None], max_new_tokens=8)


def test_other_models_keep_their_context(llama: Model) -> None:
    assert llama.context == llama.config.max_position_embeddings
