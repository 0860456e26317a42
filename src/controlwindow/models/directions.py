"""Write directions: what one neuron adds to the residual stream per unit of activation."""

from __future__ import annotations

import torch

from controlwindow.models.adapters import output_weight
from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron


def write_direction(model: Model, neuron: Neuron | str, state: torch.Tensor | None = None) -> torch.Tensor:
    """The write direction v: the neuron's column of the FFN output projection as it lands in the residual stream.

    Args:
        model: The model.
        neuron: The neuron, or its name.
        state: The FFN output m before a post-FFN norm, [d_model], at which to take the local direction. The families
            supported so far add the FFN output as it is, so v does not depend on it.

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
    neuron = model.require(neuron)
    return output_weight(model.ffn_outputs[neuron.layer], model.family)[:, neuron.index].detach().clone()


def write_norms(model: Model, layer: int) -> torch.Tensor:
    """‖v‖ of every neuron of a layer, [neurons], float32."""
    norms: torch.Tensor = write_matrix(model, layer).float().norm(dim=0)
    return norms


def write_matrix(model: Model, layer: int) -> torch.Tensor:
    """Write directions of a layer as columns, [d_model, neurons]; a view of the weights, not to be changed."""
    return output_weight(model.ffn_outputs[layer], model.family).detach()


def token_effects(model: Model, neuron: Neuron | str, count: int = 8) -> tuple[list[tuple[str, float]], ...]:
    """Tokens that the write direction raises and lowers most when read out directly ("logit lens").

    Computed as W_U·(γ ⊙ v) with γ the final norm's gain, in logits per unit of activation at unit residual scale;
    what later blocks do with the write is not in it.

    Args:
        model: The model.
        neuron: The neuron, or its name.
        count: Tokens a side.

    Returns:
        The most raised and the most lowered tokens, as (token, logit).
    """
    neuron = model.require(neuron)
    write = write_direction(model, neuron).float()
    gain = model.hf_model.get_submodule(model.family.final_norm).weight.detach().float()
    readout = model.hf_model.get_submodule(model.family.readout).weight.detach().float()
    effects = readout @ (gain * write)
    count = min(count, len(effects))

    def named(indices: torch.Tensor) -> list[tuple[str, float]]:
        return [(str(model.tokenizer.decode([int(i)])), float(effects[i])) for i in indices]

    return named(effects.topk(count).indices), named((-effects).topk(count).indices)
