"""Directional ablation on plain Transformers models, with hooks of this file and module names written down by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

import tiny_models
from controlwindow.models import Model

READERS = {
    "llama": "post_attention_layernorm",
    "gpt2": "ln_2",
    "olmo2": "mlp",
    "gemma2": "pre_feedforward_layernorm",
    "qwen2_moe": "post_attention_layernorm",
    "gpt_neox": None,
    "gpt_neox:serial": "post_attention_layernorm",
    "opt": "final_layer_norm",
    "glm4": "post_attention_layernorm",
}


def without(values: torch.Tensor, unit: torch.Tensor, share: float) -> torch.Tensor:
    return values - share * (values @ unit)[..., None] * unit


@contextmanager
def plainly_ablated(model: Model, reader: str | None, unit: torch.Tensor, share: float = 1.0) -> Iterator[None]:
    """Hooks on a plain model: what enters the first block, what the FFN reads, and what leaves each block."""
    with ExitStack() as stack:

        def before(_module: Any, args: Any, kwargs: Any) -> Any:
            if args:
                return (without(args[0], unit, share), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": without(kwargs["hidden_states"], unit, share)}

        def after(_module: Any, _args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (without(output[0], unit, share), *output[1:])
            return without(output, unit, share)

        first = tiny_models.block(model, 0)
        stack.callback(first.register_forward_pre_hook(before, with_kwargs=True).remove)
        for layer in range(model.layers):
            block = tiny_models.block(model, layer)
            if reader is not None:
                hook = block.get_submodule(reader).register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(hook.remove)
            stack.callback(block.register_forward_hook(after).remove)
        yield


def generate(model: Model, ids: Sequence[int], tokens: int) -> tuple[list[int], int]:
    """Transformers' own greedy answer, and how many of its tokens are decided."""
    found = model.hf_model.generate(
        torch.tensor([list(ids)]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=tokens,
        return_dict_in_generate=True,
        output_logits=True,
        pad_token_id=0,
    )
    margins = [float(top[0] - top[1]) for top in (step[0].topk(2).values for step in found.logits)]
    chosen = found.sequences[0, len(ids) :].tolist()
    return chosen, next((i for i, margin in enumerate(margins) if margin < 1e-4), len(chosen))
