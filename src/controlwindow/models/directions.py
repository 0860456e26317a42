"""Write directions: what one neuron adds to the residual stream per unit of activation."""

from __future__ import annotations

import torch

from controlwindow.models.feedforward import effective_gain
from controlwindow.models.model import Model, require_model
from controlwindow.models.neuron import Neuron


def write_direction(model: Model, neuron: Neuron | str, state: torch.Tensor | None = None) -> torch.Tensor:
    """The write direction v: the neuron's column of the FFN output projection as it lands in the residual stream.

    The column is multiplied by a residual multiplier. In a mixture of experts it is taken at unit router weight: a
    token that the router sends to the expert with weight w moves by w·α·v, any other by 0. Under a post-FFN norm
    γ⊙m/sqrt(mean(m²) + ε) of the FFN output m, the write depends on m and is bounded (method section 2; the norm's
    derivative and limit are ours).

    Args:
        model: The model.
        neuron: The neuron, or its name.
        state: The FFN output m before a post-FFN norm, [d_model], at which to take the local derivative along the
            column. None gives the limit of an unbounded dose, √d·γ⊙v/‖v‖. Without a post-FFN norm it changes nothing.

    Returns:
        v in the model's dtype, [d_model]; a copy.

    Raises:
        NeuronError: The neuron is malformed or lies outside the model.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> cw.write_direction(model, "L3.N7").shape
        torch.Size([128])
    """
    neuron = require_model(model, verify=False).require(neuron)
    column = model.ffn[neuron.layer].column(neuron)
    norm = model.post_norm(neuron.layer)
    if norm is None:
        return column
    direction = norm.limit(column) if state is None else norm.derivative(state.to(column.device), column)
    return direction.to(column.dtype)


def raw_write(model: Model, neuron: Neuron | str) -> torch.Tensor:
    """The neuron's column times the residual multiplier, before any post-FFN norm, at unit router weight, [d_model].

    Raises:
        NeuronError: The neuron is malformed or lies outside the model.
    """
    neuron = model.require(neuron)
    return model.ffn[neuron.layer].column(neuron)


def write_norms(model: Model, layer: int) -> torch.Tensor:
    """Length of `raw_write` of every neuron of a layer in the order of `model.neurons`, [neurons], float32."""
    return model.ffn[layer].norms()


def write_matrix(model: Model, layer: int) -> torch.Tensor:
    """`raw_write` of every neuron of a layer as columns, in the order of `model.neurons`, [d_model, neurons].

    A view of the weights where one can be had, not to be changed; routed experts are copied side by side.
    """
    return model.ffn[layer].matrix()


def token_effects(model: Model, neuron: Neuron | str, count: int = 8) -> tuple[list[tuple[str, float]], ...]:
    """Tokens that the write direction raises and lowers most when read out directly ("logit lens").

    Computed as W_U·(γ ⊙ v) with γ the final norm's gain, in logits per unit of activation at unit residual scale;
    v is centred first where the final norm is a LayerNorm, which drops the mean. A constant logit scale is applied, a
    softcap is not: it is monotone and depends on the logit. What later blocks do with the write is not in it. Under a
    post-FFN norm v is the limit of an unbounded dose.

    Args:
        model: The model.
        neuron: The neuron, or its name.
        count: Tokens a side.

    Returns:
        The most raised and the most lowered tokens, as (token, logit).
    """
    neuron = model.require(neuron)
    family = model.family
    write = write_direction(model, neuron).float()
    if family.centred:
        write = write - write.mean()
    norm = model.hf_model.get_submodule(family.final_norm)
    # Some norms have no gain (OLMo).
    if getattr(norm, "weight", None) is not None:
        write = effective_gain(norm, family) * write
    effects = model.hf_model.get_output_embeddings().weight.detach().float() @ write
    if family.logit_multiplier is not None:
        effects = effects * getattr(model.config, family.logit_multiplier)
    if family.logit_divisor is not None:
        effects = effects / getattr(model.config, family.logit_divisor)
    count = min(count, len(effects))

    def named(indices: torch.Tensor) -> list[tuple[str, float]]:
        return [(str(model.tokenizer.decode([int(i)])), float(effects[i])) for i in indices]

    return named(effects.topk(count).indices), named((-effects).topk(count).indices)
