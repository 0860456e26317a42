"""nnsight: one trace of `generate` on doses × prompts rows, the neuron's activation changed at every step."""

from __future__ import annotations

from typing import Any

import torch
from nnsight.modeling.transformers import TransformersModel
from protocol import Job, Rows, Run, in_best_batches, serve
from transformers import AutoModelForCausalLM, AutoTokenizer


def make(job: Job) -> Run:
    """The job in batches of rows."""
    loaded = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.torch_dtype).to(job.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model: Any = TransformersModel(loaded, tokenizer=tokenizer, task="text-generation")

    def generate(rows: Rows) -> list[list[int]]:
        batch = job.batch(rows)
        tokens, options, layer, neuron, offsets = (
            batch.tokens,
            job.options,
            job.layer,
            job.neuron,
            batch.alphas[:, None],
        )
        with torch.inference_mode():  # noqa: SIM117 (the trace must be a block of its own: nnsight reads its source)
            with model.generate(**options) as tracer:
                with tracer.invoke(tokens):
                    for _step in tracer.all():
                        model.model.layers[layer].mlp.down_proj.input[..., neuron] += offsets
                with tracer.invoke():
                    found = tracer.result.save()
        return batch.generated(found)

    return in_best_batches(job, generate)


if __name__ == "__main__":
    serve(make, ("nnsight", "transformers"))
