"""The placebo: a random neuron of the same layer, pushed to the same coordinate."""

from __future__ import annotations

import random

import torch

from controlwindow.errors import NeuronError
from controlwindow.instruments.generic import GenericPass
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write
from controlwindow.statistics import stable_seed

_TRIES = 64
_SAME = 0.9
"""Neurons whose writes have such a cosine are one; a controller's twin is no placebo."""


def draw_placebo(
    model: Model, generic: GenericPass, neuron: Neuron, branch: int, coordinate: float, draw: int
) -> tuple[Neuron, float]:
    """A random other neuron of a neuron's layer, and the dose that brings it to a coordinate on the same branch.

    Args:
        model: The model.
        generic: Its generic pass.
        neuron: The neuron that it stands beside.
        branch: The branch.
        coordinate: The coordinate.
        draw: Which one; the same number draws the same neuron.

    Returns:
        The neuron and its dose, t ≥ 0.

    Raises:
        NeuronError: No neuron of the layer reaches the coordinate.
    """
    chance = random.Random(stable_seed("placebo", model.fingerprint, neuron, draw))
    own = raw_write(model, neuron).float()
    for _ in range(_TRIES):
        other = model.neurons.at(neuron.layer, chance.randrange(model.neurons.widths[neuron.layer]))
        write = raw_write(model, other).float()
        if not bool(write.norm()) or abs(float(torch.cosine_similarity(own, write, dim=0))) > _SAME:
            continue
        try:
            generic.budget(model, other)
            dose = generic.curve(model, other, branch).dose(coordinate)
        except (NeuronError, ValueError):
            continue
        if dose >= 0:
            return other, dose
    raise NeuronError(
        f"no other neuron of layer {neuron.layer} was found that a dose brings to c {coordinate:.2f}",
        "choose a smaller c, or go without a placebo",
    )
