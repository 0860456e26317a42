"""Doses and ablations that gradients flow through: the training-time counterpart of the instruments.

They act where every dose of this package acts: at the input of the FFN's output projection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controlwindow.models.neuron import Neuron


class RowDose(NamedTuple):
    """What is done to one neuron in one row.

    Attributes:
        row: Row of the batch.
        neuron: The neuron.
        t: Signed dose in budget units, added to the activation.
        factor: The activation is multiplied by it first; 0 ablates.
    """

    row: int
    neuron: Neuron
    t: float = 0.0
    factor: float = 1.0


def ablation(row: int, neuron: Neuron) -> RowDose:
    """Return the ablation of a neuron in a row."""
    return RowDose(row, neuron, 0.0, 0.0)


@contextmanager
def intervened(model: Any, doses: Sequence[RowDose], norms: Tensor, positions: Tensor | None = None) -> Iterator[None]:
    """Apply doses while the block runs; the hooks are removed afterwards, also after an error.

    Args:
        model: A Llama model.
        doses: The doses; rows and neurons may repeat.
        norms: Residual norm of each layer, ‖r_L‖ `[layers]`: one budget is ‖r_L‖/‖v‖ (LAW; method section 1).
        positions: Where the doses act `[rows, positions]`; everywhere if absent.
    """
    by_layer: dict[int, list[RowDose]] = defaultdict(list)
    for dose in doses:
        by_layer[dose.neuron.layer].append(dose)
    handles = [
        model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(_hook(group, norms[layer], positions))
        for layer, group in by_layer.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(doses: Sequence[RowDose], norm: Tensor, positions: Tensor | None) -> Any:
    rows = torch.tensor([dose.row for dose in doses])
    indices = torch.tensor([dose.neuron.index for dose in doses])
    factors = torch.tensor([dose.factor for dose in doses])
    t = torch.tensor([dose.t for dose in doses])

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        activations = inputs[0]
        budgets = norm / module.weight.detach()[:, indices].norm(dim=0)
        chosen = activations[rows, :, indices]
        new = chosen * factors[:, None] + (t * budgets)[:, None]
        if positions is not None:
            new = torch.where(positions[rows, : chosen.shape[1]], new, chosen)
        # A scatter out of place, so that the gradient reaches both the untouched and the changed activations.
        change = torch.zeros_like(activations).index_put(
            (rows[:, None], torch.arange(chosen.shape[1])[None], indices[:, None]), new - chosen, accumulate=True
        )
        return (activations + change,)

    return hook


@contextmanager
def recorded(model: Any, neurons: Sequence[Neuron]) -> Iterator[dict[Neuron, Tensor]]:
    """Record neurons' activations, with their gradients; entered before `intervened`, it sees them before any dose.

    Args:
        model: A Llama model.
        neurons: The neurons.

    Yields:
        Activations `[rows, positions]` by neuron, filled by the forward pass.
    """
    activations: dict[Neuron, Tensor] = {}

    def recorder(neuron: Neuron) -> Any:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            activations[neuron] = inputs[0][..., neuron.index]

        return hook

    handles = [
        model.model.layers[neuron.layer].mlp.down_proj.register_forward_pre_hook(recorder(neuron)) for neuron in neurons
    ]
    try:
        yield activations
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def residual_norms(model: Any, tokens: Tensor, answers: Tensor) -> Tensor:
    """Median norm of the residual stream after each layer.

    Args:
        model: A Llama model.
        tokens: Token ids, padded on the right `[rows, positions]`.
        answers: Positions to count `[rows, positions]`.

    Returns:
        Norms `[layers]`.
    """
    norms: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: norms.append(output[answers].norm(dim=-1).median()))
        for layer in model.model.layers
    ]
    try:
        model.model(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(norms)
