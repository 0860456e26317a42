"""What differs between decoder families, as data. The only place that knows module names.

A family without an entry is refused by name: a guess about where a neuron writes would make every number after it
wrong in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from controlwindow.errors import ArchitectureError


@dataclass(frozen=True)
class Family:
    """Where one decoder family keeps the parts the method names.

    Attributes:
        name: The family's name in tables and provenance.
        model_types: `config.model_type` values it covers.
        blocks: Path of the list of blocks, from the causal language model.
        ffn_output: Path of the FFN's output projection, from a block.
        layout: Its weight: "linear" is [d_model, neurons], "conv1d" is [neurons, d_model].
        final_norm: Path of the norm before the readout.
        readout: Path of the readout, whose weight is [vocabulary, d_model].
    """

    name: str
    model_types: frozenset[str]
    blocks: str
    ffn_output: str
    layout: Literal["linear", "conv1d"]
    final_norm: str
    readout: str = "lm_head"


FAMILIES: tuple[Family, ...] = (
    Family(
        name="llama",
        model_types=frozenset({"llama"}),
        blocks="model.layers",
        ffn_output="mlp.down_proj",
        layout="linear",
        final_norm="model.norm",
    ),
    Family(
        name="gpt2",
        model_types=frozenset({"gpt2"}),
        blocks="transformer.h",
        ffn_output="mlp.c_proj",
        layout="conv1d",
        final_norm="transformer.ln_f",
    ),
)


def family_of(model_type: str) -> Family:
    """The adapter of a `config.model_type`.

    Raises:
        ArchitectureError: The family has no entry.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(sorted(t for family in FAMILIES for t in family.model_types))
    raise ArchitectureError(
        f"the architecture {model_type!r} is not supported yet (supported: {known})",
        "a family is one entry of about ten lines in controlwindow/models/adapters.py; until it is there and tested, "
        "its neurons are not measured",
    )


def blocks_of(hf_model: nn.Module, family: Family) -> tuple[nn.Module, ...]:
    """The decoder blocks in order."""
    blocks = hf_model.get_submodule(family.blocks)
    if not isinstance(blocks, nn.ModuleList):
        raise ArchitectureError(f"{family.blocks} of this {family.name} model is {type(blocks).__name__}, not a list")
    return tuple(blocks)


def output_weight(projection: nn.Module, family: Family) -> torch.Tensor:
    """The output projection's weight as [d_model, neurons], a view.

    Raises:
        ArchitectureError: The module is not of the layout that the family declares (a quantised or replaced layer).
    """
    weight = getattr(projection, "weight", None)
    expected = "Linear" if family.layout == "linear" else "Conv1D"
    if not isinstance(weight, torch.Tensor) or type(projection).__name__ != expected or weight.ndim != 2:
        raise ArchitectureError(
            f"the FFN output projection of this {family.name} model is {type(projection).__name__}, "
            f"expected {expected} with a two-dimensional weight",
            "load the model unquantised and without adapters merged as modules",
        )
    return weight if family.layout == "linear" else weight.T
