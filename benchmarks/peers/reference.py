"""The plain reference: one prompt and one dose at a time, nothing padded, with top-two margins; never timed.

Its dose is added to the projection's *output* as a multiple of the raw weight column, so it shares no hook with any
contender.
"""

from __future__ import annotations

from typing import Any

import torch
from protocol import Job, Run, serve
from transformers import AutoModelForCausalLM


def make(job: Job) -> Run:
    """The job, row by row."""
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.torch_dtype).to(job.device).eval()
    projection = model.model.layers[job.layer].mlp.down_proj
    column = projection.weight.detach()[:, job.neuron].clone()

    def row(alpha: float, prompt: list[int]) -> tuple[list[int], list[float]]:
        handle = projection.register_forward_hook(lambda _module, _args, output: output + alpha * column)
        ids = torch.tensor([prompt], device=job.device)
        try:
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                **job.options,
                return_dict_in_generate=True,
                output_logits=True,
            )
        finally:
            handle.remove()
        top = [step[0].float().topk(2).values for step in found.logits]
        return found.sequences[0, len(prompt) :].tolist(), [float(values[0] - values[1]) for values in top]

    def run() -> dict[str, Any]:
        found = [[row(alpha, prompt) for prompt in job.prompts] for alpha in job.alphas]
        return {
            "tokens": [[tokens for tokens, _ in dose] for dose in found],
            "margins": [[margins for _, margins in dose] for dose in found],
        }

    return run


if __name__ == "__main__":
    serve(make, ("transformers",))
