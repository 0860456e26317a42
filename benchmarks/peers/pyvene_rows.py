"""pyvene: an intervenable model whose function changes the neuron's activation in every pass of `generate`."""

from __future__ import annotations

from typing import Any

import pyvene
import torch
from protocol import Job, Rows, Run, in_best_batches, serve
from transformers import AutoModelForCausalLM


def make(job: Job) -> Run:
    """The job in batches of rows."""
    loaded = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.torch_dtype).to(job.device).eval()
    offsets = torch.zeros(0)

    def dosed(activation: torch.Tensor, _source: object, **_options: object) -> torch.Tensor:
        changed = activation.clone()
        changed[..., job.neuron] += offsets[:, None]
        return changed

    component = f"model.layers[{job.layer}].mlp.down_proj.input"
    model: Any = pyvene.IntervenableModel({"component": component, "intervention": dosed}, model=loaded)

    def generate(rows: Rows) -> list[list[int]]:
        nonlocal offsets
        batch = job.batch(rows)
        offsets = batch.alphas
        # Without unit locations, and "on the prompt", it intervenes at every position of every pass.
        with torch.inference_mode():
            _, found = model.generate(batch.tokens, unit_locations=None, intervene_on_prompt=True, **job.options)
        return batch.generated(found)

    return in_best_batches(job, generate)


if __name__ == "__main__":
    serve(make, ("pyvene", "transformers"))
