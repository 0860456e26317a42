"""Doses and write directions of all neurons of a layer at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.instruments.generic import GenericPass
from controlwindow.models import Model
from controlwindow.models.directions import write_matrix

Floats = NDArray[np.float64]

LEAST_DOSE = 0.1
"""A neuron that the residual already points along needs no dose to reach a coordinate; it is given this one, in t."""

CAPPED_DOSE = 4.0
"""The dose, in t, of a neuron whose plateau lies below the coordinate asked for."""


def model_budgets(model: Model, generic: GenericPass) -> Floats:
    """Budgets of all neurons, all layers in a row, [neurons]; NaN for those that have none."""
    return np.concatenate([generic.budgets(model, layer) for layer in range(model.layers)])


def layer_offsets(model: Model, generic: GenericPass, layer: int, coordinate: float) -> Floats:
    """Activation offsets that bring every neuron of a layer to one |c| on both branches, by its curve.

    Args:
        model: The model.
        generic: Its generic pass.
        layer: The layer.
        coordinate: The control coordinate to reach, > 0.

    Returns:
        [2, neurons]: on branch +1 and, negative, on branch −1; 0 for neurons without a budget.
    """
    budgets = np.nan_to_num(generic.budgets(model, layer))
    curves = generic.curves(model, layer)
    offsets = []
    for sign, branch in ((1, curves), (-1, curves.opposite())):
        doses = branch.rising_doses(np.full(len(budgets), coordinate))
        offsets.append(sign * np.maximum(np.nan_to_num(doses, nan=CAPPED_DOSE), LEAST_DOSE) * budgets)
    return np.stack(offsets)


def limit_directions(model: Model, layer: int) -> torch.Tensor:
    """`write_direction` of every neuron of a layer as columns, [d_model, neurons], float32."""
    writes = write_matrix(model, layer).float()
    norm = model.post_norm(layer)
    return writes if norm is None else norm.limit(writes.T).T
