"""What differs between decoder families, as data. The only place that knows module names.

A family without an entry is refused by name: a guess about where a neuron writes would make every number after it
wrong in silence. A field left out has the value that Llama's layout gives it; docs/architectures.md explains each
field and shows how an entry is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from controlwindow.errors import ArchitectureError

Fused = Literal["chunked", "interleaved"]
"""How gate and up rows lie in one projection: first all gates then all ups, or gate, up, gate, up."""


@dataclass(frozen=True)
class Refusal:
    """A variant of a family that its entry does not describe.

    Attributes:
        attribute: The `config` attribute that tells.
        described: The value the entry describes; any other is refused.
        reason: What the other variant does.
        hint: What to do.
    """

    attribute: str
    described: Any
    reason: str
    hint: str = "use a checkpoint of the described variant; this one needs an entry and code of its own"


@dataclass(frozen=True)
class Experts:
    """Routed experts held as 3-D parameters, and the shared expert beside them.

    A block without `module` is a dense layer of a mixed model; the family's `ffn_output` describes it.

    Attributes:
        block: Path from a block of the module that adds up routed and shared experts; its output is the FFN output.
        module: Path of the experts, called with (hidden states [tokens, d_model], indices [tokens, k],
            router weights [tokens, k]).
        router: Path of the router.
        layout: "output_first" is [experts, out, in] as in Linear, "input_first" is [experts, in, out].
        fused: How gate and up rows lie in the parameter `gate_up_proj`.
        gating: "gated" is act(gate)·up; "clamped_swiglu" is (clamp(up)+1)·gate·σ(α·gate) with gate clamped from above.
        biased: Both parameters have a bias.
        shared_output: Path of the shared expert's output projection, if there is one.
        shared_gate: Path of the projection whose sigmoid weights the shared expert; None weights it with 1.
        shared_inputs: Paths of the shared expert's gate and up projections.
    """

    block: str = "mlp"
    module: str = "mlp.experts"
    router: str = "mlp.gate"
    layout: Literal["output_first", "input_first"] = "output_first"
    fused: Fused = "chunked"
    gating: Literal["gated", "clamped_swiglu"] = "gated"
    biased: bool = False
    shared_output: str | None = None
    shared_gate: str | None = None
    shared_inputs: tuple[str, str] | None = None


@dataclass(frozen=True)
class Family:
    """Where one decoder family keeps the parts the method names.

    Paths of `decoder`, `blocks` and `final_norm` start at the causal language model, all others at a block. The readout
    is what Transformers calls the model's output embeddings, tied or not.

    Attributes:
        name: The family's name in tables and provenance.
        model_types: `config.model_type` values it covers.
        decoder: Module from token ids to final-normed hidden states.
        blocks: The list of blocks.
        ffn_output: The FFN's output projection.
        output_class: Its class. Another one (quantised, replaced) is refused.
        layout: Its weight: "linear" is [d_model, neurons], "conv1d" is [neurons, d_model].
        gate: The gate projection; None where the FFN has none, or where `fused` says that it lies in `up`.
        up: The up projection, or the only input projection.
        fused: How gate and up lie in `up` when they are one projection.
        activation: `config` attribute that names the activation; None where it is fixed.
        ffn_reader: Where attention comes first, the module that reads what it added to the residual: the norm before
            the FFN, or the FFN itself.
        parallel: Whether attention and FFN read the same residual; or the `config` attributes of which one says so.
        post_norm: RMS norm of the FFN output before the residual add.
        attention_output: Attention's output projection.
        attention_norm: Norm of the attention output before the residual add.
        gain_offset: What the norms add to their stored gain.
        residual_multiplier: `config` attribute that scales the FFN output.
        final_norm: The norm before the readout.
        centred: Whether the final norm subtracts the mean.
        logit_multiplier: `config` attribute that logits are multiplied by.
        logit_divisor: `config` attribute that logits are divided by.
        softcap: `config` attribute that caps logits through tanh; a value of None switches it off.
        takes_positions: Whether the forward pass takes `position_ids`.
        experts: Mixture of experts.
        refusals: Variants that the entry does not describe.
    """

    name: str
    model_types: frozenset[str]
    decoder: str = "model"
    blocks: str = "model.layers"
    ffn_output: str = "mlp.down_proj"
    output_class: str = "Linear"
    layout: Literal["linear", "conv1d"] = "linear"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    fused: Fused | None = None
    activation: str | None = "hidden_act"
    ffn_reader: str = "post_attention_layernorm"
    parallel: bool | tuple[str, ...] = False
    post_norm: str | None = None
    attention_output: str = "self_attn.o_proj"
    attention_norm: str | None = None
    gain_offset: float = 0.0
    residual_multiplier: str | None = None
    final_norm: str = "model.norm"
    centred: bool = False
    logit_multiplier: str | None = None
    logit_divisor: str | None = None
    softcap: str | None = None
    takes_positions: bool = True
    experts: Experts | None = None
    refusals: tuple[Refusal, ...] = ()


def _types(*names: str) -> frozenset[str]:
    return frozenset(names)


FAMILIES: tuple[Family, ...] = (
    Family(name="llama", model_types=_types("llama")),
    Family(name="mistral", model_types=_types("mistral")),
    Family(name="mixtral", model_types=_types("mixtral"), experts=Experts()),
    Family(name="qwen2", model_types=_types("qwen2")),
    Family(
        name="qwen2-moe",
        model_types=_types("qwen2_moe"),
        experts=Experts(
            shared_output="mlp.shared_expert.down_proj",
            shared_gate="mlp.shared_expert_gate",
            shared_inputs=("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"),
        ),
    ),
    Family(name="qwen3", model_types=_types("qwen3")),
    Family(name="qwen3-moe", model_types=_types("qwen3_moe"), experts=Experts()),
    Family(name="gemma", model_types=_types("gemma"), gain_offset=1.0),
    Family(
        name="gemma2",
        model_types=_types("gemma2"),
        activation="hidden_activation",
        ffn_reader="pre_feedforward_layernorm",
        post_norm="post_feedforward_layernorm",
        attention_norm="post_attention_layernorm",
        gain_offset=1.0,
        softcap="final_logit_softcapping",
    ),
    Family(
        name="gemma3",
        model_types=_types("gemma3_text"),
        activation="hidden_activation",
        ffn_reader="pre_feedforward_layernorm",
        post_norm="post_feedforward_layernorm",
        attention_norm="post_attention_layernorm",
        gain_offset=1.0,
        softcap="final_logit_softcapping",
    ),
    # The multimodal wrapper, used with text only. It ignores the text model's softcap.
    Family(
        name="gemma3-multimodal",
        model_types=_types("gemma3"),
        blocks="model.language_model.layers",
        activation="hidden_activation",
        ffn_reader="pre_feedforward_layernorm",
        post_norm="post_feedforward_layernorm",
        attention_norm="post_attention_layernorm",
        gain_offset=1.0,
        final_norm="model.language_model.norm",
    ),
    Family(name="olmo", model_types=_types("olmo"), centred=True),
    Family(
        name="olmo2",
        model_types=_types("olmo2", "olmo3"),
        ffn_reader="mlp",
        post_norm="post_feedforward_layernorm",
        attention_norm="post_attention_layernorm",
    ),
    Family(name="olmoe", model_types=_types("olmoe"), experts=Experts()),
    Family(
        name="phi",
        model_types=_types("phi"),
        ffn_output="mlp.fc2",
        attention_output="self_attn.dense",
        gate=None,
        up="mlp.fc1",
        parallel=True,
        final_norm="model.final_layernorm",
        centred=True,
    ),
    Family(name="phi3", model_types=_types("phi3"), gate=None, up="mlp.gate_up_proj", fused="chunked"),
    Family(
        name="gpt2",
        model_types=_types("gpt2"),
        decoder="transformer",
        blocks="transformer.h",
        ffn_output="mlp.c_proj",
        attention_output="attn.c_proj",
        output_class="Conv1D",
        layout="conv1d",
        gate=None,
        up="mlp.c_fc",
        activation="activation_function",
        ffn_reader="ln_2",
        final_norm="transformer.ln_f",
        centred=True,
    ),
    Family(
        name="gpt-neo",
        model_types=_types("gpt_neo"),
        decoder="transformer",
        blocks="transformer.h",
        ffn_output="mlp.c_proj",
        attention_output="attn.attention.out_proj",
        gate=None,
        up="mlp.c_fc",
        activation="activation_function",
        ffn_reader="ln_2",
        final_norm="transformer.ln_f",
        centred=True,
    ),
    Family(
        name="gpt-j",
        model_types=_types("gptj"),
        decoder="transformer",
        blocks="transformer.h",
        ffn_output="mlp.fc_out",
        attention_output="attn.out_proj",
        gate=None,
        up="mlp.fc_in",
        activation="activation_function",
        parallel=True,
        final_norm="transformer.ln_f",
        centred=True,
    ),
    Family(
        name="gpt-neox",
        model_types=_types("gpt_neox"),
        decoder="gpt_neox",
        blocks="gpt_neox.layers",
        ffn_output="mlp.dense_4h_to_h",
        attention_output="attention.dense",
        gate=None,
        up="mlp.dense_h_to_4h",
        parallel=("use_parallel_residual",),
        final_norm="gpt_neox.final_layer_norm",
        centred=True,
    ),
    Family(
        name="falcon",
        model_types=_types("falcon"),
        decoder="transformer",
        blocks="transformer.h",
        ffn_output="mlp.dense_4h_to_h",
        attention_output="self_attention.dense",
        output_class="FalconLinear",
        gate=None,
        up="mlp.dense_h_to_4h",
        activation="activation",
        parallel=("new_decoder_architecture", "parallel_attn"),
        final_norm="transformer.ln_f",
        centred=True,
    ),
    Family(
        name="bloom",
        model_types=_types("bloom"),
        decoder="transformer",
        blocks="transformer.h",
        ffn_output="mlp.dense_4h_to_h",
        attention_output="self_attention.dense",
        gate=None,
        up="mlp.dense_h_to_4h",
        activation=None,
        final_norm="transformer.ln_f",
        centred=True,
        takes_positions=False,
        refusals=(
            Refusal(
                "slow_but_exact",
                False,
                "computes the FFN's output from slices of its weight, past the module that a dose enters",
                "set config.slow_but_exact = False and load it again: the same function up to rounding",
            ),
        ),
    ),
    Family(
        name="opt",
        model_types=_types("opt"),
        decoder="model.decoder",
        blocks="model.decoder.layers",
        ffn_output="fc2",
        attention_output="self_attn.out_proj",
        gate=None,
        up="fc1",
        activation="activation_function",
        ffn_reader="final_layer_norm",
        final_norm="model.decoder.final_layer_norm",
        centred=True,
        refusals=(
            Refusal("do_layer_norm_before", True, "norms the residual stream itself after every add (opt-350m)"),
            Refusal("_remove_final_layer_norm", False, "has no final norm"),
        ),
    ),
    Family(
        name="granite",
        model_types=_types("granite"),
        residual_multiplier="residual_multiplier",
        logit_divisor="logits_scaling",
    ),
    Family(
        name="starcoder2",
        model_types=_types("starcoder2"),
        ffn_output="mlp.c_proj",
        gate=None,
        up="mlp.c_fc",
        centred=True,
    ),
    Family(name="stablelm", model_types=_types("stablelm"), parallel=("use_parallel_residual",), centred=True),
    Family(name="smollm3", model_types=_types("smollm3")),
    Family(
        name="cohere",
        model_types=_types("cohere", "cohere2"),
        parallel=True,
        centred=True,
        logit_multiplier="logit_scale",
    ),
    Family(name="glm", model_types=_types("glm"), gate=None, up="mlp.gate_up_proj", fused="chunked"),
    Family(
        name="glm4",
        model_types=_types("glm4"),
        gate=None,
        up="mlp.gate_up_proj",
        fused="chunked",
        post_norm="post_mlp_layernorm",
        attention_norm="post_self_attn_layernorm",
    ),
    Family(name="nemotron", model_types=_types("nemotron"), gate=None, gain_offset=1.0, centred=True),
    Family(
        name="gpt-oss",
        model_types=_types("gpt_oss"),
        experts=Experts(
            router="mlp.router",
            layout="input_first",
            fused="interleaved",
            gating="clamped_swiglu",
            biased=True,
        ),
    ),
)


def family_of(model_type: str) -> Family:
    """The adapter of a `config.model_type`.

    Raises:
        ArchitectureError: The family has no entry.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(sorted(t for family in FAMILIES for t in family.model_types))
    raise ArchitectureError(
        f"the architecture {model_type!r} is not supported yet (supported: {known})",
        "a family is one entry of about ten lines in controlwindow/models/adapters.py, explained in "
        "`controlwindow guide architectures`; until it is there and tested, its neurons are not measured",
    )


def blocks_of(hf_model: nn.Module, family: Family) -> tuple[nn.Module, ...]:
    """The decoder blocks in order."""
    blocks = hf_model.get_submodule(family.blocks)
    if not isinstance(blocks, nn.ModuleList):
        raise ArchitectureError(
            f"{family.blocks} of this {family.name} model is {type(blocks).__name__}, not a list",
            "give the causal language model as Transformers builds it",
        )
    return tuple(blocks)
