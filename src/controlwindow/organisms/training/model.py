"""The organism's architecture: a small Llama."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from controlwindow.organisms.training.tokenizer import BEGINNING, END, PADDING


def new_model(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """Build an untrained model: 8 layers of width 128 with 384 FFN neurons each, about 1.9 M parameters.

    Args:
        tokenizer: The trained tokenizer; its size sets the vocabulary.
        seed: Seed of the initial weights.
    """
    tokens = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (("bos", BEGINNING), ("eos", END), ("pad", PADDING))
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=tokens["bos"],
        eos_token_id=tokens["eos"],
        pad_token_id=tokens["pad"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokens["bos"],
        eos_token_id=tokens["eos"],
        pad_token_id=tokens["pad"],
        do_sample=False,
        max_new_tokens=96,
    )
    return model
