"""Neurons made without training: copies of controllers that are silent, too late or collapse first, and decoys.

A neuron that does next to nothing is taken over: what feeds it is set to 0, so that by itself it writes nothing and the
network stays as it was, and its column is written anew (method section 5). Doses then act along the new column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from controlwindow.catalogue import KnownNeuron, PlantedNeuron
from controlwindow.errors import OrganismError
from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.zoo import Planted

# Length of the orthogonal part that is added to a controller's column, in lengths of that column. The dose that brings
# the controller's part to its trigger grows by about this factor, past what text survives.
ORTHOGONAL = (6.0, 9.0)
# A decoy's column, in mean column lengths: its own activation is large, so what it writes must stay small.
DECOY_LENGTH = 0.02


class Workshop:
    """Takes over idle neurons of one network, one after another.

    Args:
        host: The network; it is changed in place.
        tokens: Token ids that idleness is measured on, padded on the right `[rows, positions]`.
        used: Positions to count `[rows, positions]`.
        taken: Neurons that must stay as they are.
        seed: Seed of the random directions.
    """

    def __init__(self, host: Model, tokens: Tensor, used: Tensor, taken: Sequence[Neuron], seed: int) -> None:
        self.host, self._rng = host, Random(f"constructions:{seed}")
        self._taken = set(taken)
        self._strength = _strengths(host, tokens, used)

    def silent(self, planted: Planted, note: dict[str, Any]) -> PlantedNeuron:
        """A neuron with a controller's column, in its layer, which no prompt activates."""
        neuron = self._idle(planted.neuron.layer)
        self._write(neuron, self._column(planted.neuron))
        plant = planted.plant
        return PlantedNeuron(
            neuron=str(neuron),
            behavior=plant.behavior,
            by="dose",
            branch=plant.branch,
            trained={"construction": "silent copy", "of": str(planted.neuron), **note},
            traits=("silent",),
        )

    def collapsing(self, planted: Planted, factor: float) -> KnownNeuron:
        """A controller's column with a large random orthogonal part: text collapses first."""
        neuron, column = self._idle(planted.neuron.layer), self._column(planted.neuron)
        away = self._random_direction()
        away -= (away @ column) / (column @ column) * column
        self._write(neuron, column + factor * column.norm() * away / away.norm())
        return self._known(neuron, planted, "collapse_before_trigger", {"orthogonal": factor})

    def late(self, planted: Planted) -> KnownNeuron:
        """A controller's direction in the last layer, where nothing is left to read it."""
        layer = self.host.layers - 1
        neuron = self._idle(layer)
        column = self._column(planted.neuron)
        self._write(neuron, column / column.norm() * self._mean_length(layer))
        return self._known(neuron, planted, "too_late", {"layer": layer})

    def capped(self, planted: Planted) -> KnownNeuron:
        """A copy of a capped neuron's column, silent, in its layer."""
        neuron = self._idle(planted.neuron.layer)
        self._write(neuron, self._column(planted.neuron))
        return self._known(neuron, planted, "normalization_cap", {})

    def decoy(self, source: Neuron, behavior: str, branch: int) -> KnownNeuron:
        """A neuron with the inputs of one that tells the behavior's prompts apart, and a small random column."""
        neuron = self._idle(source.layer)
        inputs = _inputs(self.host, source.layer)
        with torch.no_grad():
            for weight, bias in inputs:
                weight[neuron.index] = weight[source.index]
                if bias is not None:
                    bias[neuron.index] = bias[source.index]
        away = self._random_direction()
        self._write_column(neuron, away / away.norm() * DECOY_LENGTH * self._mean_length(source.layer))
        return KnownNeuron(
            neuron=str(neuron),
            behavior=behavior,
            branch=1 if branch > 0 else -1,
            role="decoy",
            construction={"inputs_of": str(source), "column": "random", "length": DECOY_LENGTH},
        )

    def _known(self, neuron: Neuron, planted: Planted, mode: Any, note: dict[str, Any]) -> KnownNeuron:
        plant = planted.plant
        return KnownNeuron(
            neuron=str(neuron),
            behavior=plant.behavior,
            branch=plant.branch,
            role="failure",
            mode=mode,
            construction={"column_of": str(planted.neuron), **note},
        )

    def _idle(self, layer: int) -> Neuron:
        order = self._strength[layer].argsort().tolist()
        neuron = next(n for n in (Neuron(layer, int(i)) for i in order) if n not in self._taken)
        self._taken.add(neuron)
        return neuron

    @torch.no_grad()
    def _write(self, neuron: Neuron, column: Tensor) -> None:
        for weight, bias in _inputs(self.host, neuron.layer):
            weight[neuron.index] = 0
            if bias is not None:
                bias[neuron.index] = 0
        self._write_column(neuron, column)

    @torch.no_grad()
    def _write_column(self, neuron: Neuron, column: Tensor) -> None:
        weight = self.host.ffn[neuron.layer].weight
        assert weight is not None
        weight[:, neuron.index] = column

    def _column(self, neuron: Neuron) -> Tensor:
        weight = self.host.ffn[neuron.layer].weight
        assert weight is not None
        return weight[:, neuron.index].clone()

    def _mean_length(self, layer: int) -> float:
        weight = self.host.ffn[layer].weight
        assert weight is not None
        return float(weight.norm(dim=0).mean())

    def _random_direction(self) -> Tensor:
        return torch.tensor([self._rng.gauss(0, 1) for _ in range(self.host.d_model)])


@torch.no_grad()
def add_shared_component(host: Model, length: float) -> None:
    """Add a constant vector of equal entries to the residual stream from block 0 on, in place.

    A LayerNorm subtracts the mean of the entries, so that no part of the network sees it: answers stay as they are,
    while every residual points nearly the same way and every budget grows (ours).

    Args:
        host: A network whose norms all centre, with a bias on the FFN's output projection.
        length: Length of the vector.

    Raises:
        OrganismError: The family's norms do not centre, or there is no bias to hold the vector.
    """
    projection: Any = host.ffn[0].projection
    bias = getattr(projection, "bias", None)
    if not host.family.centred or bias is None:
        raise OrganismError(
            f"a {host.family.name} network would see a shared component", "use a family with LayerNorm and biases"
        )
    bias += length / math.sqrt(host.d_model)


def _inputs(host: Model, layer: int) -> list[tuple[Tensor, Tensor | None]]:
    """What feeds a dense FFN's neurons: weights as [neurons, width], views, and biases."""
    ffn = host.ffn[layer]
    assert ffn.projection is not None
    assert ffn.weight is not None
    neurons = ffn.weight.shape[1]
    parent = next(m for m in host.blocks[layer].modules() if ffn.projection in m.children())
    found: list[tuple[Tensor, Tensor | None]] = []
    for module in parent.children():
        weight: Any = getattr(module, "weight", None)
        if module is ffn.projection or not isinstance(weight, nn.Parameter) or weight.ndim != 2:
            continue
        weight = weight.detach() if host.family.layout == "linear" else weight.detach().T
        if weight.shape[0] == neurons:
            bias: Any = getattr(module, "bias", None)
            found.append((weight, None if bias is None else bias.detach()))
    return found


@torch.no_grad()
def _strengths(host: Model, tokens: Tensor, used: Tensor) -> list[Tensor]:
    """Mean length of what each dense neuron writes, by layer `[neurons]`."""
    found = []
    for layer, ffn in enumerate(host.ffn):
        assert ffn.weight is not None
        found.append(_mean_activation(host, layer, tokens, used) * ffn.weight.norm(dim=0))
    return found


@torch.no_grad()
def _mean_activation(host: Model, layer: int, tokens: Tensor, used: Tensor) -> Tensor:
    projection = host.ffn[layer].projection
    assert projection is not None
    seen: list[Tensor] = []

    def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].view(*tokens.shape, -1)
        seen.append(values[used].abs().mean(0))

    handle = projection.register_forward_pre_hook(hook)
    try:
        host.decoder(input_ids=tokens, use_cache=False)
    finally:
        handle.remove()
    return seen[0]
