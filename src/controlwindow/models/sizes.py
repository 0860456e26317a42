"""A configuration's sizes held against the weights that are there, on a model without data."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from controlwindow.errors import ModelError
from controlwindow.models.adapters import blocks_of, family_of
from controlwindow.text import one_line

_ROOM = 1 << 26
"""Values that a model may have beyond its weights: masks and position tables of older families."""


def check_sizes(location: object, config: Any, elements: int) -> None:
    """Refuse a configuration of a model that is far larger than its weights: what is missing would be allocated first.

    Exact shapes are compared when the weights are loaded, which is safe once this has passed.

    Args:
        location: What errors name.
        config: The configuration.
        elements: Number of values in the weight files.

    Raises:
        ModelError: No model can be built from the configuration, or one of more than twice the values.
    """
    try:
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        blocks_of(built, family_of(config.model_type))
        needed = sum(p.numel() for p in built.parameters()) + sum(b.numel() for b in built.buffers())
    # Sizes that divide by zero, overflow, contradict each other or name unknown functions all end up here.
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"cannot load {location}: no model can be built from its config.json: {one_line(error, 300)}",
            "restore config.json from the model's source",
        ) from error
    if needed > 2 * elements + _ROOM:
        raise ModelError(
            f"cannot load {location}: its config.json describes a model of {needed:,} values, but its weight files "
            f"hold {elements:,}",
            "restore config.json from the model's source, or fetch the weights that are missing",
        )
