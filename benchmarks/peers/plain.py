"""Transformers with one hand-written hook: the model, the hook and `generate`, shared by the plain peers."""

from __future__ import annotations

from typing import Any

import torch
from protocol import Generate, Job, Rows
from transformers import AutoModelForCausalLM

PACKAGES = ("transformers", "tokenizers")


def plain(job: Job) -> Generate:
    """Greedy decoding of rows, each with its own offset by one forward pre-hook on the FFN's output projection."""
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.torch_dtype).to(job.device).eval()
    projection = model.model.layers[job.layer].mlp.down_proj

    def generate(rows: Rows) -> list[list[int]]:
        batch = job.batch(rows)

        def hook(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            args[0][..., job.neuron] += batch.alphas[:, None]

        handle = projection.register_forward_pre_hook(hook)
        try:
            with torch.inference_mode():
                return batch.generated(model.generate(**batch.tokens, **job.options))
        finally:
            handle.remove()

    return generate
