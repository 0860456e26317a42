"""Stored tensors that a model has no place for: which follow from its configuration, and what the others are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from controlwindow.errors import ModelError
from controlwindow.models.headers import StoredTensor
from controlwindow.text import printable

# What a stored tensor can be called that scales, packs or restores quantised weights.
_REMNANT = re.compile(
    r"(^|[._])(scales?|scale_inv|qscale|zeros?|zero_point|qzeros|qweight|g_idx|absmax|quant_map|quant_state\b.*|SCB|"
    r"weight_packed|weight_scale|input_scale|output_scale|[kv]_scale|amax|qdata|codebooks?|lookup_table|biases)$"
)
_ADAPTED = re.compile(r"(^|\.)(lora_\w+|base_layer|modules_to_save|base_model)(\.|$)")


def is_remnant(name: str) -> bool:
    """Whether a tensor's name is one that quantisers use for scales, packed weights and their like."""
    return _REMNANT.search(name) is not None


def is_ignorable(tensor: StoredTensor) -> bool:
    """Whether a stored tensor follows from the configuration, as older versions wrote masks and position tables.

    Rotary frequencies are among them; `loading` holds them against those that the model computes.
    """
    name = tensor.name
    if re.search(r"(^|\.)(attn|attention)\.bias$", name):
        return len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1) and tensor.shape[2] == tensor.shape[3]
    if re.search(r"(^|\.)(attn|attention)\.masked_bias$", name):
        return tensor.elements == 1
    return re.search(r"(^|\.)(rotary_emb\.inv_freq|position_ids|attn\.embed_positions)$", name) is not None


def check_report(location: object, report: dict[str, Any], stored: dict[str, StoredTensor]) -> None:
    """Refuse a checkpoint that lacks weights or holds others: Transformers warns, and makes up or drops them.

    Args:
        location: What errors name.
        report: What Transformers says it left out.
        stored: What the files hold, by name.

    Raises:
        ModelError: A weight of the model is missing, or one of the files has no place in it.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{location} lacks {len(missing)} of the model's weights, such as {missing[0]}",
            "fetch the checkpoint again; the file is incomplete, or was saved from another class of model",
        )
    # Renamed on loading, a tensor is no longer found under its name; it is then judged by its name alone.
    unexpected = [
        name
        for name in report["unexpected_keys"]
        if not is_ignorable(stored.get(name, StoredTensor(name, "F32", (), "")))
    ]
    if unexpected:
        raise describe_unexpected(location, unexpected)


def passed_over(hf_model: Any, tensors: Iterable[StoredTensor]) -> list[str]:
    """Stored weights that Transformers leaves out without a word, by patterns that match more than they are meant for.

    GPT-2's pattern for masks takes every `attn.bias` for one, whatever its shape.
    """
    patterns = [re.compile(pattern) for pattern in getattr(hf_model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    if not patterns:
        return []
    taken, prefix = set(hf_model.state_dict()), f"{hf_model.base_model_prefix}."
    return [
        t.name
        for t in tensors
        if any(pattern.search(t.name) for pattern in patterns)
        and not is_ignorable(t)
        and not taken & {t.name, prefix + t.name, t.name.removeprefix(prefix)}
    ]


def describe_unexpected(location: object, names: Iterable[str]) -> ModelError:
    """The error for weights that the model has no place for."""
    found = sorted(names)
    first = next((name for name in found if is_remnant(name)), found[0])
    what, hint = (
        "of which its configuration knows nothing",
        "what they do would be left out in silence; use a config.json that describes them, or save the model again",
    )
    if is_remnant(first):
        what = "a remnant of a quantisation that its configuration does not name"
        hint = "give the checkpoint in float32, bfloat16 or float16 that it was made from"
    elif _ADAPTED.search(first):
        what, hint = "part of an adapter that is not merged", "merge it and save the merged model, or give it by itself"
    count = f"{len(found)} weights that the model has no place for, such as " if len(found) > 1 else "the weight "
    return ModelError(f"{location} holds {count}{printable(first, 200)}, {what}", hint)
