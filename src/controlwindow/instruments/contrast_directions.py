"""Directions of the residual stream that tell two prompt sets apart: their difference of means, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.models import Model

Floats = NDArray[np.float64]


def mean_residuals(model: Model, prompt_ids: Sequence[Sequence[int]], *, batch_rows: int = 64) -> Floats:
    """Mean residual at the last prompt position at the output of every block, [layers, d_model], undosed.

    Args:
        model: The model.
        prompt_ids: Prompts as token ids.
        batch_rows: Rows a pass.
    """
    sums = torch.zeros((model.layers, model.d_model), dtype=torch.float64)

    def read(layer: int, values: torch.Tensor) -> None:
        sums[layer] += values[:, -1].double().sum(0).cpu()

    for start in range(0, len(prompt_ids), batch_rows):
        batch = model.pad(prompt_ids[start : start + batch_rows])
        mask = batch["attention_mask"]
        options = model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0))
        with measuring(model), capturing(model, residuals=read, positions=slice(-1, None)):
            model.decoder(input_ids=batch["input_ids"], **options)
    return np.asarray((sums / len(prompt_ids)).numpy())


def mean_differences(
    model: Model,
    positive: Sequence[Sequence[int]],
    negative: Sequence[Sequence[int]],
    *,
    batch_rows: int = 64,
) -> Floats:
    """Mean over X+ minus mean over X− of the residual at the last prompt position, [layers, d_model].

    The direction of mean-difference addition (CAA; Rimsky et al. 2024) and directional ablation (Arditi et al. 2024).

    Args:
        model: The model.
        positive: Prompts of X+ as token ids.
        negative: Prompts of X− as token ids.
        batch_rows: Rows a pass.
    """
    return mean_residuals(model, positive, batch_rows=batch_rows) - mean_residuals(
        model, negative, batch_rows=batch_rows
    )
