"""TransformerLens: its bridge over the Transformers model, its `generate`, a hook on the neuron's activation."""

from __future__ import annotations

from typing import Any

import torch
from protocol import Job, Rows, Run, in_best_batches, serve
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer


def make(job: Job) -> Run:
    """The job in batches of rows."""
    loaded = AutoModelForCausalLM.from_pretrained(job.model, dtype=job.torch_dtype, attn_implementation="eager")
    bridge: Any = TransformerBridge.boot_transformers(
        job.model,
        device=job.device,
        dtype=job.torch_dtype,
        hf_model=loaded.to(job.device).eval(),
        tokenizer=AutoTokenizer.from_pretrained(job.model),
    )
    site = f"blocks.{job.layer}.mlp.out.hook_in"

    def generate(rows: Rows) -> list[list[int]]:
        batch = job.batch(rows)

        def dosed(activation: torch.Tensor, hook: object) -> torch.Tensor:
            activation[..., job.neuron] += batch.alphas[:, None]
            return activation

        with torch.inference_mode(), bridge.hooks(fwd_hooks=[(site, dosed)]):
            found = bridge.generate(
                batch.input_ids,
                attention_mask=batch.attention_mask,
                max_new_tokens=job.horizon,
                do_sample=False,
                eos_token_id=job.stop_ids[0],
                return_type="tokens",
                verbose=False,
            )
        return batch.generated(found)

    return in_best_batches(job, generate)


if __name__ == "__main__":
    serve(make, ("transformer-lens", "transformers"))
