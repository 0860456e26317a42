"""Cells of one neuron: rollouts of a dose, of a pinned value, and how far a dose propagates."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from controlwindow.behaviors.prompts import Role
from controlwindow.cells.base import Cell
from controlwindow.instruments.operations import Positions

Site = Literal["activation", "residual", "vector"]
"""Where a dose enters: a neuron's activation, or the residual stream after its block, there also as any vector."""

Precision = Literal["model", "float32"]
"""The type that the model was loaded in, or float32."""


@dataclass(frozen=True)
class RolloutCell(Cell):
    """Rollouts of one dose of one neuron on prompts of a behavior.

    Attributes:
        neuron: The neuron's name; None for the undosed model.
        branch: +1 or −1.
        t: Dose in budget units, ≥ 0.
        alpha: The raw activation offset that t stands for, signed by the branch.
        positions: "all" or "generated".
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
        sample_seed: None for greedy decoding, a seed for sampling at temperature 1.
        site: "activation", or "residual": the neuron's direction, alpha long, added at the output of its block.
            "vector": `neuron` names a vector of the run, and alpha times it is added there.
        precision: "model" for the type the model was loaded in, or "float32".
        role: "positive" for the prompts that are steered, "negative" for the benign ones beside them (X−).
    """

    rolls_out = True
    # Cells of the usual site, precision and role keep the key that they had before there were others.
    usual = MappingProxyType({"site": "activation", "precision": "model", "role": "positive"})

    neuron: str | None = None
    branch: int = 1
    t: float = 0.0
    alpha: float = 0.0
    positions: Positions = "all"
    horizon: int = 32
    prompts: tuple[str, ...] = ()
    sample_seed: int | None = None
    site: Site = "activation"
    precision: Precision = "model"
    role: Role = "positive"

    def changed_neurons(self) -> tuple[str, ...]:
        """The dosed neuron; none for the undosed model."""
        return () if self.neuron is None else (self.neuron,)

    def batch(self) -> tuple[str, ...]:
        """Samples of one seed and rollouts of one precision run together."""
        return (*super().batch(), str(self.sample_seed), self.precision)


@dataclass(frozen=True)
class PinCell(Cell):
    """Rollouts of one neuron pinned to a value on prompts of a behavior (ONE).

    Attributes:
        neuron: The neuron's name.
        value: What its activation is set to at every position.
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
    """

    rolls_out = True

    neuron: str
    value: float
    horizon: int = 32
    prompts: tuple[str, ...] = ()

    def changed_neurons(self) -> tuple[str, ...]:
        """The pinned neuron."""
        return (self.neuron,)


@dataclass(frozen=True)
class PropagationCell(Cell):
    """How far a dose propagates, on the behavior's undosed rollouts (method section 3)."""

    neuron: str
    branch: int
    t: float
    alpha: float
    positions: Positions = "all"
    prompts: tuple[str, ...] = ()

    def changed_neurons(self) -> tuple[str, ...]:
        """The dosed neuron."""
        return (self.neuron,)
