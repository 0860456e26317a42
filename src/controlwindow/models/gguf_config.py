"""What a GGUF file's metadata say of the model's computation, carried over to the configuration or refused by name."""

from __future__ import annotations

import math
from typing import Any

import torch

from controlwindow.errors import ModelError
from controlwindow.models.gguf_header import GgufHeader
from controlwindow.text import printable

_HINT = "give the checkpoint that the file was made from, as safetensors"

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings", "n_positions"),
    "block_count": ("num_hidden_layers", "n_layer"),
    "embedding_length": ("hidden_size", "n_embd"),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
}
"""Metadata by their name after the architecture's, and the attributes of a configuration that can hold them."""

_SHAPES_TELL = frozenset({"vocab_size", "feed_forward_length", "expert_feed_forward_length", "tensor_data_layout"})
"""Metadata that the shapes of the weights say anyway, or that nothing depends on."""

_ROTARY_KEYS = frozenset({"rope.freq_base", "rope.dimension_count", "rope.scaling.type"})


def complete_configuration(header: GgufHeader, config: Any) -> None:
    """Give a configuration what the file says and the loader leaves out.

    Raises:
        ModelError: The file says something of which no attribute of the configuration is known.
    """
    prefix = f"{header.architecture}."
    for key, (_, value) in header.metadata.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        attribute = next((a for a in _ATTRIBUTES.get(name, ()) if hasattr(config, a)), None)
        if attribute is not None:
            current = getattr(config, attribute)
            # Numbers that are the same up to the file's single precision stay as the loader has them.
            if current is None or not math.isclose(float(current), float(value), rel_tol=1e-6):
                setattr(config, attribute, value)
        elif name not in _SHAPES_TELL and name not in _ROTARY_KEYS and not name.startswith("rope.scaling."):
            raise ModelError(
                f"{header.path} sets {printable(name, 60)} = {printable(value, 60)}, which nothing here carries over "
                f"to a {config.model_type} model",
                _HINT,
            )
    _check_rotary(header, config)
    _set_query_scale(header, config)


def _check_rotary(header: GgufHeader, config: Any) -> None:
    arch, rotary = header.architecture, getattr(config, "rope_parameters", None) or {}
    scaling = header.get(f"{arch}.rope.scaling.type", "none")
    # Gemma 3 has frequencies for either kind of layer, of which the file names those of the full ones.
    given = rotary.get("full_attention", rotary)
    if scaling != "none" and scaling != given.get("rope_type", "default"):
        raise ModelError(
            f"{header.path} stretches positions ({printable(scaling, 40)}), which Transformers' GGUF loader does not "
            "do",
            _HINT,
        )
    base = header.get(f"{arch}.rope.freq_base")
    known = given.get("rope_theta", getattr(config, "rope_theta", None))
    if base is not None and (known is None or not math.isclose(float(known), float(base), rel_tol=1e-6)):
        raise ModelError(
            f"{header.path} has the rotary base {float(base):g}, but the loader makes it {printable(known, 40)}", _HINT
        )
    turned = header.get(f"{arch}.rope.dimension_count")
    heads = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if turned is not None and int(turned) != int(heads * float(given.get("partial_rotary_factor", 1.0))):
        raise ModelError(f"{header.path} turns {int(turned)} of {heads} dimensions of a head by position", _HINT)


def _set_query_scale(header: GgufHeader, config: Any) -> None:
    """Gemma's largest models scale queries otherwise, which the file leaves to its reader to know (llama.cpp too)."""
    largest = {"gemma2": 46, "gemma3": 62}.get(header.architecture)
    if hasattr(config, "query_pre_attn_scalar"):
        own = config.hidden_size // config.num_attention_heads
        config.query_pre_attn_scalar = own if config.num_hidden_layers == largest else config.head_dim


def set_rotary_factors(header: GgufHeader, hf_model: Any) -> None:
    """Divide a model's rotary frequencies by the factors that the file holds beside the weights (Llama 3.1 and later).

    Raises:
        ModelError: No frequencies of the model have that many factors.
    """
    stored = next((tensor for tensor in header.tensors if tensor.name == "rope_freqs.weight"), None)
    if stored is None:
        return
    with header.path.open("rb") as file:
        file.seek(header.data + stored.offset)
        factors = torch.frombuffer(bytearray(file.read(4 * stored.elements)), dtype=torch.float32)
    modules = [m for m in hf_model.modules() if isinstance(getattr(m, "inv_freq", None), torch.Tensor)]
    fitting = stored.kind == 0 and bool((factors > 0).all()) and len(factors) == stored.elements
    if not modules or not fitting or any(module.inv_freq.shape != factors.shape for module in modules):
        raise ModelError(f"{header.path} holds rotary factors that do not fit the model", _HINT)
    for module in modules:
        for name in ("inv_freq", "original_inv_freq"):
            if hasattr(module, name):
                setattr(module, name, getattr(module, name) / factors.to(module.inv_freq.device))
