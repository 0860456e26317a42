"""The same weights in float32, to check what half precision decided."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch

from controlwindow.models.model import Model

HALF = (torch.float16, torch.bfloat16)
"""Types in which rounding can move a verdict that lies near a threshold."""


def is_half(model: Model) -> bool:
    """Whether a model's weights are in half precision."""
    return model.dtype in HALF


def float32_copy(model: Model) -> Model:
    """The model with its weights, as loaded, converted to float32; the original is left as it is.

    It takes twice the memory of the original, beside it.
    """
    return replace(model, hf_model=deepcopy(model.hf_model).float(), cache={})
