"""Doses and ablations that gradients flow through: the training-time counterpart of the instruments.

They act where every dose of this package acts: at the input of the FFN's output projection. In a mixture of experts
they reach the shared expert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controlwindow.errors import OrganismError
from controlwindow.models.adapters import family_of
from controlwindow.models.chat import ChatFormat
from controlwindow.models.feedforward import effective_gain
from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron


class RowDose(NamedTuple):
    """What is done to one neuron in one row.

    Attributes:
        row: Row of the batch.
        neuron: The neuron.
        t: Signed dose in budget units, added to the activation.
        factor: The activation is multiplied by it first; 0 ablates.
        injected: The dose does not enter at the activation: t residual norms of the neuron's write direction are added
            at the output of the block, past any norm.
    """

    row: int
    neuron: Neuron
    t: float = 0.0
    factor: float = 1.0
    injected: bool = False


def ablation(row: int, neuron: Neuron) -> RowDose:
    """Return the ablation of a neuron in a row."""
    return RowDose(row, neuron, 0.0, 0.0)


class Scales(NamedTuple):
    """What budgets are made of, by layer; all `[layers]`.

    Attributes:
        residual: Median residual norm after each block, ‖r_L‖.
        budget: One budget is this over ‖v‖ (LAW; method section 1): ‖r_L‖, the norm of the FFN output under a post-FFN
            norm, ‖r_L‖ over the median gate in a gated shared expert.
    """

    residual: Tensor
    budget: Tensor


def host_of(network: Any) -> Model:
    """See a network as the instruments do; a model that is one already comes back as it is."""
    if isinstance(network, Model):
        return network
    return Model(
        network, None, family_of(network.config.model_type), ChatFormat(None, None, "no switch"), "in training"
    )


@contextmanager
def intervened(
    network: Any, doses: Sequence[RowDose], scales: Scales | Tensor, positions: Tensor | None = None
) -> Iterator[None]:
    """Apply doses while the block runs; the hooks are removed afterwards, also after an error.

    Args:
        network: A Transformers model, or one wrapped by `host_of`.
        doses: The doses; rows and neurons may repeat.
        scales: Scales of the layers; residual norms `[layers]` serve where nothing norms or gates an FFN's output.
        positions: Where the doses act `[rows, positions]`; everywhere if absent.
    """
    host = host_of(network)
    scales = scales if isinstance(scales, Scales) else Scales(scales, scales)
    by_place: dict[tuple[int, bool], list[RowDose]] = defaultdict(list)
    for dose in doses:
        by_place[dose.neuron.layer, dose.injected].append(dose)
    shape = _Shape()
    handles = [host.blocks[0].register_forward_pre_hook(shape.note, with_kwargs=True)]
    try:
        for (layer, injected), group in by_place.items():
            if injected:
                hook = _injection(host, layer, group, scales.residual[layer], positions)
                handles.append(host.blocks[layer].register_forward_hook(hook))
            else:
                hook = _dose(host, layer, group, scales.budget[layer], positions, shape)
                handles.append(_projection(host, layer).register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Shape:
    """Rows and positions of the running pass: some mixtures of experts flatten them before their projections."""

    def __init__(self) -> None:
        self.rows = 0

    def note(self, module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Take the shape of what the first block is given."""
        self.rows = (inputs[0] if inputs else options["hidden_states"]).shape[0]

    def unflatten(self, values: Tensor) -> Tensor:
        """[tokens, …] or [rows, positions, …] as [rows, positions, …]."""
        return values if values.ndim > 2 else values.view(self.rows, -1, values.shape[-1])


def _projection(host: Model, layer: int) -> Any:
    projection = host.ffn[layer].projection
    if projection is None:
        raise OrganismError(f"layer {layer} has routed experts only", "plant in a family with a shared expert")
    return projection


def _dose(
    host: Model, layer: int, doses: Sequence[RowDose], scale: Tensor, positions: Tensor | None, shape: _Shape
) -> Any:
    rows = torch.tensor([dose.row for dose in doses])
    indices = torch.tensor([dose.neuron.index for dose in doses])
    factors = torch.tensor([dose.factor for dose in doses])
    t = torch.tensor([dose.t for dose in doses])
    budgets = scale / _write_norms(host, layer)[indices]

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        activations = shape.unflatten(inputs[0])
        chosen = activations[rows, :, indices]
        new = chosen * factors[:, None] + (t * budgets)[:, None]
        if positions is not None:
            new = torch.where(positions[rows, : chosen.shape[1]], new, chosen)
        # A scatter out of place, so that the gradient reaches both the untouched and the changed activations.
        change = torch.zeros_like(activations).index_put(
            (rows[:, None], torch.arange(chosen.shape[1])[None], indices[:, None]), new - chosen, accumulate=True
        )
        return ((activations + change).view_as(inputs[0]),)

    return hook


def _injection(host: Model, layer: int, doses: Sequence[RowDose], norm: Tensor, positions: Tensor | None) -> Any:
    rows = torch.tensor([dose.row for dose in doses])
    vectors = torch.stack([dose.t * norm * unit_direction(host, dose.neuron) for dose in doses])

    def hook(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        added = vectors[:, None].expand(-1, hidden.shape[1], -1)
        if positions is not None:
            added = added * positions[rows, : hidden.shape[1], None]
        moved = hidden.index_add(0, rows, added.to(hidden.dtype))
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    return hook


def unit_direction(host: Model, neuron: Neuron) -> Tensor:
    """Direction in which a neuron's doses move the residual stream, length 1 `[width]`; under a post-FFN norm γ⊙v."""
    column = host.ffn[neuron.layer].column(neuron).float()
    norm = host.ffn[neuron.layer].post_norm
    if norm is not None:
        # The gain is read again: the adapter's copy is as old as the wrapper, and training moves it.
        column = effective_gain(norm.module, host.family) * column
    unit: Tensor = column / column.norm()
    return unit


def _write_norms(host: Model, layer: int) -> Tensor:
    """Length of every column of the dense FFN or the shared expert, times the residual multiplier `[neurons]`."""
    ffn = host.ffn[layer]
    assert ffn.weight is not None
    lengths: Tensor = ffn.weight.norm(dim=0) * abs(ffn.multiplier)
    return lengths


@contextmanager
def recorded(network: Any, neurons: Sequence[Neuron]) -> Iterator[dict[Neuron, Tensor]]:
    """Record neurons' activations, with their gradients; entered before `intervened`, it sees them before any dose.

    Args:
        network: A Transformers model, or one wrapped by `host_of`.
        neurons: The neurons.

    Yields:
        Activations `[rows, positions]` by neuron, filled by the forward pass.
    """
    host = host_of(network)
    activations: dict[Neuron, Tensor] = {}
    shape = _Shape()

    def recorder(neuron: Neuron) -> Any:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            activations[neuron] = shape.unflatten(inputs[0])[..., neuron.index]

        return hook

    handles = [host.blocks[0].register_forward_pre_hook(shape.note, with_kwargs=True)]
    try:
        handles += [_projection(host, n.layer).register_forward_pre_hook(recorder(n)) for n in neurons]
        yield activations
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def residual_norms(network: Any, tokens: Tensor, answers: Tensor) -> Tensor:
    """Median norm of the residual stream after each layer.

    Args:
        network: A Transformers model, or one wrapped by `host_of`.
        tokens: Token ids, padded on the right `[rows, positions]`.
        answers: Positions to count `[rows, positions]`.

    Returns:
        Norms `[layers]`.
    """
    return measured_scales(network, tokens, answers).residual


@torch.no_grad()
def measured_scales(network: Any, tokens: Tensor, answers: Tensor) -> Scales:
    """What budgets are made of, measured on one undosed pass.

    Args:
        network: A Transformers model, or one wrapped by `host_of`.
        tokens: Token ids, padded on the right `[rows, positions]`.
        answers: Positions to count `[rows, positions]`.
    """
    host = host_of(network)
    residual, budget = torch.zeros(host.layers), torch.zeros(host.layers)
    gates = torch.ones(host.layers)
    shape = _Shape()

    def first(output: Any) -> Tensor:
        found: Tensor = output[0] if isinstance(output, tuple) else output
        return shape.unflatten(found)

    def note(into: Tensor, layer: int, reading: Callable[[Tensor], Tensor]) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            into[layer] = reading(first(output)[answers]).median()

        return hook

    def length(values: Tensor) -> Tensor:
        lengths: Tensor = values.norm(dim=-1)
        return lengths

    handles = [host.blocks[0].register_forward_pre_hook(shape.note, with_kwargs=True)]
    try:
        for layer, ffn in enumerate(host.ffn):
            handles.append(host.blocks[layer].register_forward_hook(note(residual, layer, length)))
            if ffn.post_norm is not None:
                handles.append(ffn.output.register_forward_hook(note(budget, layer, length)))
            if ffn.shared_gate is not None:
                handles.append(ffn.shared_gate.register_forward_hook(note(gates, layer, torch.sigmoid)))
        host.decoder(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    capped = torch.tensor([ffn.post_norm is not None for ffn in host.ffn])
    return Scales(residual, torch.where(capped, budget, residual) / gates)
