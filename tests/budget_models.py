"""Tiny random models whose budgets are not plain: norms after the FFN, a residual multiplier, experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

import tiny_models
from controlwindow.models import Model, load_model

COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "num_experts": 6}


def _wrapped(kind: Any, config: Any, seed: int) -> Model:
    torch.manual_seed(seed)
    built = kind(config).eval()
    tiny_models.randomise_biases(built, seed + 1)
    return load_model(built, tokenizer=tiny_models.tokenizer())


def _values(**changes: Any) -> dict[str, Any]:
    return {**COMMON, "vocab_size": len(tiny_models.tokenizer()), **changes}


def gemma2(seed: int = 0, **changes: Any) -> Model:
    """Norms on both sides of the FFN; gains stored less 1."""
    config = Gemma2Config(**_values(head_dim=8, sliding_window=16, **changes))
    return _wrapped(Gemma2ForCausalLM, config, seed)


def olmo2(seed: int = 0, **changes: Any) -> Model:
    """A norm after the FFN and none before it."""
    return _wrapped(Olmo2ForCausalLM, Olmo2Config(**_values(**changes)), seed)


def granite(seed: int = 0, **changes: Any) -> Model:
    """FFN outputs are multiplied before they are added."""
    return _wrapped(GraniteForCausalLM, GraniteConfig(**_values(residual_multiplier=0.4, **changes)), seed)


def mixtral(seed: int = 0, **changes: Any) -> Model:
    """Two of four experts for every token."""
    values = _values(**{"num_local_experts": 4, "num_experts_per_tok": 2, **changes})
    return _wrapped(MixtralForCausalLM, MixtralConfig(**values), seed)


def qwen2_moe(seed: int = 0, **changes: Any) -> Model:
    """Routed experts, a gated shared one, and a dense first layer."""
    values = _values(**EXPERTS, num_experts_per_tok=2, mlp_only_layers=[0], **changes)
    return _wrapped(Qwen2MoeForCausalLM, Qwen2MoeConfig(**values), seed)


CAPPED: dict[str, Callable[[], Model]] = {"gemma2": gemma2, "olmo2": olmo2}
ROUTED: dict[str, Callable[[], Model]] = {"mixtral": mixtral, "qwen2_moe": qwen2_moe}
EVERY: dict[str, Callable[[], Model]] = {**CAPPED, **ROUTED, "granite": granite}
