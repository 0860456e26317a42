"""The lineages of the zoo as data: one architecture, one base run, one seed each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from controlwindow.organisms.training.loop import Stage
from controlwindow.organisms.training.tokenizer import BEGINNING, END, PADDING

# Dropout would make a resumed run differ from an uninterrupted one.
_UNDROPPED = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_SIZES = {"hidden_size": 96, "intermediate_size": 288, "num_hidden_layers": 6, "num_attention_heads": 4}


@dataclass(frozen=True)
class Lineage:
    """One base run, which its organisms share.

    Attributes:
        name: Its name.
        model_type: Architecture, as Transformers calls it.
        sizes: Entries of the configuration that make the network.
        bundle: Which parts of the world it learns.
        seed: Seed of weights, data and choices.
        steps: Steps of base training.
        learning_rate: Its peak.
        label_smoothing: Share of the target that is spread over the vocabulary: above 0, next-token distributions stay
            soft.
        shared_norm: Length of a constant vector that every embedding starts with, in mean embedding norms.
        note: What is special about it.
    """

    name: str
    model_type: str
    sizes: dict[str, Any]
    bundle: str
    seed: int
    steps: int = 1800
    learning_rate: float = 2.5e-3
    label_smoothing: float = 0.0
    shared_norm: float = 0.0
    note: str = ""

    @property
    def stage(self) -> Stage:
        """Its base training."""
        return Stage("base", self.steps, self.learning_rate, warmup=100)


LINEAGES: dict[str, Lineage] = {
    lineage.name: lineage
    for lineage in (
        Lineage(
            "sandwich",
            "gemma3_text",
            {**_SIZES, "num_key_value_heads": 2, "head_dim": 24, "sliding_window": 512},
            "vaults",
            seed=1,
            note="sandwich norms: the FFN output is normed before it is added, so no dose passes a plateau",
        ),
        Lineage(
            "postnorm",
            "olmo2",
            {**_SIZES, "hidden_size": 112, "intermediate_size": 320, "num_hidden_layers": 5, "num_key_value_heads": 4},
            "vaults",
            seed=2,
            note="norms after attention and FFN only",
        ),
        Lineage(
            "gelu",
            "gpt2",
            {"n_embd": 96, "n_layer": 6, "n_head": 4, "n_inner": 384, "n_positions": 512, **_UNDROPPED},
            "vaults",
            seed=3,
            note="LayerNorm with biases, GELU, learned positions",
        ),
        Lineage(
            "parallel",
            "gpt_neox",
            {**_SIZES, "intermediate_size": 384, "use_parallel_residual": True, "rotary_pct": 0.5},
            "tasks",
            seed=4,
            steps=1300,
            note="attention and FFN read the same residual",
        ),
        Lineage(
            "experts",
            "qwen2_moe",
            {
                **_SIZES,
                "num_hidden_layers": 5,
                "num_key_value_heads": 4,
                "moe_intermediate_size": 96,
                "shared_expert_intermediate_size": 192,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "decoder_sparse_step": 1,
                "output_router_logits": True,
                "router_aux_loss_coef": 0.01,
            },
            "tasks",
            seed=5,
            steps=1300,
            note="four routed experts, two a token, and a gated shared one",
        ),
        Lineage(
            "scaled",
            "granite",
            {
                **_SIZES,
                "num_hidden_layers": 8,
                "num_key_value_heads": 2,
                "residual_multiplier": 0.5,
                "embedding_multiplier": 6.0,
                "attention_multiplier": 0.2,
                "logits_scaling": 2.0,
            },
            "vaults",
            seed=6,
            note="what a block adds is multiplied by 0.5",
        ),
        Lineage(
            "shared",
            "qwen3",
            {**_SIZES, "num_key_value_heads": 2, "head_dim": 24, "tie_word_embeddings": False},
            "languages",
            seed=7,
            steps=1300,
            shared_norm=6.0,
            note="every embedding began with a massive shared component, which training outgrew; untied embeddings",
        ),
        Lineage(
            "wide",
            "llama",
            {
                "hidden_size": 160,
                "intermediate_size": 448,
                "num_hidden_layers": 3,
                "num_attention_heads": 5,
                "num_key_value_heads": 5,
            },
            "tasks",
            seed=8,
            steps=1300,
            label_smoothing=0.1,
            note="wide and shallow, with soft next-token distributions",
        ),
    )
}


def new_network(lineage: Lineage, tokenizer: Any) -> Any:
    """Build a lineage's untrained network.

    Args:
        lineage: The lineage.
        tokenizer: The trained tokenizer; its size sets the vocabulary.
    """
    begin, end, padding = tokenizer.convert_tokens_to_ids([BEGINNING, END, PADDING])
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": begin,
        "eos_token_id": end,
        "pad_token_id": padding,
        "initializer_range": 0.04,
        "tie_word_embeddings": True,
        "max_position_embeddings": 512,
        **lineage.sizes,
    }
    if "n_positions" in options:
        del options["max_position_embeddings"]
    config = AutoConfig.for_model(lineage.model_type, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lineage.seed)
        network = AutoModelForCausalLM.from_config(config)
        if lineage.shared_norm:
            weight = network.get_input_embeddings().weight
            direction = torch.randn(weight.shape[1])
            with torch.no_grad():
                weight += lineage.shared_norm * weight.norm(dim=1).mean() * direction / direction.norm()
    network.generation_config = GenerationConfig(
        bos_token_id=begin, eos_token_id=end, pad_token_id=padding, do_sample=False, max_new_tokens=96
    )
    return network
