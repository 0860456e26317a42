"""steering-vectors: the same write added at the block's output, with the package's operator giving a multiple per row.

Under a pre-norm Llama the FFN's output is added to the residual stream as it is, so this is the same intervention.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from protocol import Job, Rows, Run, in_best_batches, serve
from steering_vectors import SteeringVector
from transformers import AutoConfig, AutoModelForCausalLM


def load(job: Job) -> Any:
    """The model; its Transformers 4 keeps the base of rotary positions under another name than the file has."""
    config: Any = AutoConfig.from_pretrained(job.model)
    written = json.loads((Path(job.model) / "config.json").read_text("utf-8"))
    config.rope_theta = written.get("rope_parameters", written).get("rope_theta", 10000.0)
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, config=config, dtype=job.torch_dtype)
    return model.to(job.device).eval()


def make(job: Job) -> Run:
    """The job in batches of rows."""
    model = load(job)
    write = model.model.layers[job.layer].mlp.down_proj.weight.detach()[:, job.neuron].clone()
    vector = SteeringVector({job.layer: write})

    def generate(rows: Rows) -> list[list[int]]:
        batch = job.batch(rows)

        def times_alpha(_residual: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
            return batch.alphas[:, None, None] * direction

        with torch.inference_mode(), vector.apply(model, operator=times_alpha):
            return batch.generated(model.generate(**batch.tokens, **job.options))

    return in_best_batches(job, generate)


if __name__ == "__main__":
    serve(make, ("steering-vectors", "transformers"))
