"""Tiny GGUF files, written as llama.cpp's converters write them and independently of what reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import tiny_models

BOS, EOS = "<|begin|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|begin|>{{ m['role'] }} {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant {% endif %}"
)
MERGES = ("t h", "th e", "i n", "e r", "Ġ th", "Ġth e")

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
_LAYERED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": False}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "qwen2": ("qwen2", {"rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": False}),
    "qwen3": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3moe": (
        "qwen3_moe",
        {
            "head_dim": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "norm_topk_prob": True,
            "tie_word_embeddings": False,
        },
    ),
    "gemma2": (
        "gemma2",
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "final_logit_softcapping": 8.0,
            "attn_logit_softcapping": 4.0,
            "tie_word_embeddings": True,
            **_LAYERED,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "num_hidden_layers": 6,
            "sliding_window": 4,
            "tie_word_embeddings": True,
        },
    ),
    "starcoder2": ("starcoder2", {"use_bias": True, "tie_word_embeddings": True, "norm_epsilon": 1e-4}),
}
"""By architecture in llama.cpp's words, with the variant after a comma: the model type and what is special."""


def tokens() -> list[str]:
    """A byte-level vocabulary: two control tokens, all bytes, and a few merges."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {byte: chr(byte) for byte in letters}
    for place, byte in enumerate(b for b in range(256) if b not in spelled):
        spelled[byte] = chr(256 + place)
    return [BOS, EOS, *(spelled[byte] for byte in range(256)), *(merge.replace(" ", "") for merge in MERGES)]


def model(case: str, **changes: Any) -> PreTrainedModel:
    """A tiny random model of a case."""
    kind, special = CASES[case]
    values = {**_SIZES, **special, "vocab_size": len(tokens()), "bos_token_id": 0, "eos_token_id": 1, **changes}
    torch.manual_seed(0)
    built = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values)).eval()
    tiny_models.randomise_biases(built)
    return built


def write(path: Path, hf_model: PreTrainedModel, case: str, **options: Any) -> Path:
    """Write a model as a GGUF file.

    Options: `quantise` (name of a type for matrices), `template`, `tokenizer` (False leaves it out), `architecture`
    (what the file calls itself), `metadata` and `tensors` (added), `without` (tensors left out).
    """
    arch = case.partition(",")[0]
    writer = gguf.GGUFWriter(path, options.get("architecture", arch))
    _metadata(writer, hf_model.config, arch, options.get("architecture", arch))
    for key, value in options.get("metadata", {}).items():
        {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)](key, value)
    if options.get("tokenizer", True):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens())
        writer.add_token_types([3, 3] + [1] * (len(tokens()) - 2))
        writer.add_token_merges(list(MERGES))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_add_bos_token(False)
        if options.get("template", CHAT_TEMPLATE):
            writer.add_chat_template(options.get("template", CHAT_TEMPLATE))
    kind = gguf.GGMLQuantizationType[options.get("quantise", "F32")]
    for name, values in {**_tensors(hf_model, arch), **options.get("tensors", {})}.items():
        if name in options.get("without", ()):
            continue
        if kind == gguf.GGMLQuantizationType.F32 or values.ndim < 2:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(writer: Any, config: Any, arch: str, called: str) -> None:
    rotary = config.rope_parameters
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(rotary.get("full_attention", rotary)["rope_theta"])
    if arch == "starcoder2":
        writer.add_layer_norm_eps(config.norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if arch in ("qwen3", "qwen3moe", "gemma2", "gemma3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if arch == "llama":
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
        writer.add_vocab_size(config.vocab_size)
    if arch == "qwen3moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)


def _tensors(hf_model: PreTrainedModel, arch: str) -> dict[str, np.ndarray]:
    number = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(number, hf_model.config.num_hidden_layers)
    found = {}
    for name, values in hf_model.state_dict().items():
        if name == "lm_head.weight" and hf_model.config.tie_word_embeddings:
            continue
        array = values.numpy().copy()
        if match := re.fullmatch(r"model\.layers\.(\d+)\.mlp\.experts\.gate_up_proj", name):
            gate, up = np.split(array, 2, axis=1)
            found[f"blk.{match[1]}.ffn_gate_exps.weight"] = gate.copy()
            found[f"blk.{match[1]}.ffn_up_exps.weight"] = up.copy()
            continue
        stem, dot, suffix = name.rpartition(".")
        if suffix == "down_proj":
            stem, dot, suffix = name, ".", "weight"
        if arch == "llama" and re.search(r"self_attn\.[qk]_proj$", stem):
            heads = hf_model.config.num_attention_heads if "q_proj" in stem else hf_model.config.num_key_value_heads
            array = array.reshape(heads, 2, array.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(array.shape)
        if arch in ("gemma2", "gemma3") and stem.endswith("norm"):
            array = array + 1
        written = names.get_name(stem)
        assert written is not None, name
        found[f"{written}{dot}{suffix}"] = np.ascontiguousarray(array)
    return found
