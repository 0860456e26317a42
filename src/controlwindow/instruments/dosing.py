"""Doses and write directions of all neurons of a layer at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow import geometry
from controlwindow.instruments.generic import GenericPass
from controlwindow.models import Model
from controlwindow.models.directions import write_matrix, write_norms

Floats = NDArray[np.float64]

LEAST_DOSE = 0.1
"""A neuron that the residual already points along needs no dose to reach a coordinate; it is given this one, in t."""


def layer_budgets(model: Model, generic: GenericPass, layer: int) -> Floats:
    """Budgets B = ‖r_L‖/‖v‖ of all neurons of a layer, [neurons]; NaN where the write vanishes."""
    norms = write_norms(model, layer).double().cpu().numpy()
    return np.where(norms > 0, generic.residual_norm[layer] / np.where(norms > 0, norms, 1), np.nan)


def model_budgets(model: Model, generic: GenericPass) -> Floats:
    """Budgets of all neurons, all layers in a row, [neurons]; NaN for those that have none."""
    return np.concatenate([layer_budgets(model, generic, layer) for layer in range(model.layers)])


def layer_offsets(model: Model, generic: GenericPass, layer: int, coordinate: float) -> Floats:
    """Activation offsets that bring every neuron of a layer to one |c| on both branches, by the saturation curve.

    Args:
        model: The model.
        generic: Its generic pass.
        layer: The layer.
        coordinate: The control coordinate to reach, > 0.

    Returns:
        [2, neurons]: on branch +1 and, negative, on branch −1; 0 for neurons without a budget.
    """
    budgets = np.nan_to_num(layer_budgets(model, generic, layer))
    cosines = generic.cosines(model, layer).double().numpy()
    doses = [geometry.dose_for(coordinate, sign * cosines) for sign in (1, -1)]
    return np.stack([sign * np.maximum(t, LEAST_DOSE) * budgets for sign, t in zip((1, -1), doses, strict=True)])


def limit_directions(model: Model, layer: int) -> torch.Tensor:
    """`write_direction` of every neuron of a layer as columns, [d_model, neurons], float32."""
    writes = write_matrix(model, layer).float()
    norm = model.post_norm(layer)
    return writes if norm is None else norm.limit(writes.T).T
