"""One tiny random model for every supported family and its interesting variants, built from configurations."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

import tiny_models
from controlwindow.models import Model, load_model

_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# The names that most configurations share; those that have others are given theirs in full.
_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
_GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3}
_MOE: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_HEADS: dict[str, Any] = {"head_dim": 8}
_LAYERED: dict[str, Any] = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}

# Names are model types, with the variant after a colon.
CASES: dict[str, dict[str, Any]] = {
    "llama": {**_COMMON},
    "llama:tied, biases": {**_COMMON, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    "mistral": {**_COMMON, "sliding_window": 4},
    "mixtral": {**_COMMON, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {**_COMMON},
    "qwen2:sliding window": {**_COMMON, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen2_moe:mixed": {**_COMMON, **_MOE, "shared_expert_intermediate_size": 40, "decoder_sparse_step": 2},
    "qwen2_moe": {**_COMMON, **_MOE, "shared_expert_intermediate_size": 40, "norm_topk_prob": True},
    "qwen3": {**_COMMON, **_HEADS},
    "qwen3_moe:mixed": {**_COMMON, **_MOE, **_HEADS, "mlp_only_layers": [1], "norm_topk_prob": True},
    "gemma": {**_COMMON, **_HEADS, "tie_word_embeddings": True},
    "gemma2": {**_COMMON, **_HEADS, **_LAYERED, "final_logit_softcapping": 8.0, "attn_logit_softcapping": 4.0},
    "gemma2:no softcap": {**_COMMON, **_HEADS, "final_logit_softcapping": None, "attn_logit_softcapping": None},
    "gemma3_text": {**_COMMON, **_HEADS, **_LAYERED, "final_logit_softcapping": 6.0, "tie_word_embeddings": True},
    "gemma3": {
        "text_config": {**_COMMON, **_HEADS, **_LAYERED, **_SPECIAL},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
        "initializer_range": 0.3,
    },
    "olmo": {**_COMMON, "clip_qkv": 2.0},
    "olmo2": {**_COMMON},
    "olmo3": {**_COMMON, **_LAYERED},
    "olmoe": {**_COMMON, "num_experts": 4, "num_experts_per_tok": 2},
    "phi": {**_COMMON, "qk_layernorm": True},
    "phi3": {**_COMMON, "sliding_window": 4},
    "gpt2": {**_GPT},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "intermediate_size": 40,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
    },
    "gptj": {**_GPT, "rotary_dim": 4},
    "gpt_neox": {**_COMMON, "use_parallel_residual": True},
    "gpt_neox:serial": {**_COMMON, "use_parallel_residual": False, "attention_bias": True},
    "falcon:old, one key head": {
        **_COMMON, "ffn_hidden_size": 40, "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False,
    },
    "falcon:new": {
        **_COMMON, "ffn_hidden_size": 40, "num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False,
    },
    "falcon:new, one norm": {
        **_COMMON,
        "ffn_hidden_size": 40,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,
        "num_ln_in_parallel_attn": 1,
        "bias": True,
        "alibi": False,
    },
    "falcon:serial, alibi": {
        **_COMMON, "ffn_hidden_size": 40, "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "bloom:post-norm residual": {
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.3,
        "apply_residual_connection_post_layernorm": True,
    },
    "opt": {**_COMMON, "ffn_dim": 40, "word_embed_proj_dim": 32, "init_std": 0.3},
    "opt:no biases": {**_COMMON, "ffn_dim": 40, "word_embed_proj_dim": 32, "init_std": 0.3, "enable_bias": False},
    "granite": {
        **_COMMON,
        "residual_multiplier": 0.3,
        "logits_scaling": 4.0,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "mlp_bias": True,
    },
    "starcoder2": {**_COMMON, "use_bias": True, "sliding_window": 4},
    "stablelm": {**_COMMON, "use_qkv_bias": True},
    "stablelm:parallel, norms a head": {**_COMMON, "use_parallel_residual": True, "qk_layernorm": True},
    "smollm3": {**_COMMON, "no_rope_layers": [1, 0]},
    "cohere": {**_COMMON, "logit_scale": 0.25, "use_qk_norm": True, "tie_word_embeddings": True},
    "cohere2": {**_COMMON, **_LAYERED, "logit_scale": 0.5, "tie_word_embeddings": True},
    "glm": {**_COMMON, **_HEADS},
    "glm4": {**_COMMON, **_HEADS},
    "nemotron": {**_COMMON, "mlp_bias": True, "partial_rotary_factor": 0.5},
    "gpt_oss": {
        **_COMMON,
        **_HEADS,
        **_LAYERED,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}  # fmt: skip

WITH_EXPERTS = tuple(case for case in CASES if "moe" in case or case in ("mixtral", "gpt_oss"))
POST_NORMED = ("gemma2", "gemma2:no softcap", "gemma3_text", "gemma3", "olmo2", "olmo3", "glm4")


def is_known(case: str) -> bool:
    """Whether this Transformers version has the architecture."""
    return case.partition(":")[0] in CONFIG_MAPPING


def in_hand(case: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A Transformers model in evaluation mode in which no parameter is constant."""
    values = {**CASES[case], **_SPECIAL, **changes}
    size = {"vocab_size": len(tiny_models.tokenizer())}
    if "text_config" in values:
        values["text_config"] = {**values["text_config"], **size}
    else:
        values.update(size)
    torch.manual_seed(seed)
    built = AutoModelForCausalLM.from_config(AutoConfig.for_model(case.partition(":")[0], **values)).eval()
    tiny_models.randomise_biases(built, seed + 1)
    for module in built.modules():
        if hasattr(module, "limit"):
            module.limit = 1.0  # near enough that gpt-oss's clamps act
    return built


@cache
def model(case: str) -> Model:
    """The family's model, wrapped; shared, so tests leave it as it is."""
    return load_model(in_hand(case), tokenizer=tiny_models.tokenizer())
