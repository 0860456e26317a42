"""Cells that compare ways to steer: one neuron or one direction, at one strength, on prompts or on generic answers."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from controlwindow.behaviors.prompts import Role
from controlwindow.cells.base import Cell
from controlwindow.instruments.operations import Positions

MethodName = Literal["add", "ablate", "pin", "anchor", "mean_difference", "directional_ablation"]
"""Four ways to change a neuron, and the two residual baselines."""

NEURON_METHODS: tuple[MethodName, ...] = ("add", "ablate", "pin", "anchor")
RESIDUAL_METHODS: tuple[MethodName, ...] = ("mean_difference", "directional_ablation")
METHODS: tuple[MethodName, ...] = (*NEURON_METHODS, *RESIDUAL_METHODS)


@dataclass(frozen=True)
class _Steered(Cell):
    """What is done to the model.

    Attributes:
        method: `add` an offset to a neuron's activation (a dose; ONE's mode for concept neurons), `ablate` a share of
            its activation, `pin` it (ONE), `anchor` it (ONE), add the unit `mean_difference` of the find split's
            residuals (CAA), or take it out of the whole stream (`directional_ablation`, Arditi et al. 2024); None for
            the model as it is.
        strength: The raw offset; the share taken away; the pinned value; ONE's m; the signed length of what is added;
            the share taken out.
        neuron: The neuron's name, for methods on a neuron.
        layer: The block whose mean difference is used, for methods on the residual stream. It is added there, and taken
            out everywhere.
        gap: ONE's d, for an anchor.
        multiple: ONE's k, for an anchor.
        suffix: Positions after the instruction, for an anchor.
        positions: "all" or "generated", for `add`, `ablate` and `mean_difference`; the others act at all of them.
        source: The behavior that a direction is measured on where it is another one, such as that with shuffled labels.
    """

    method: MethodName | None = None
    strength: float = 0.0
    neuron: str | None = None
    layer: int | None = None
    gap: float = 0.0
    multiple: int = 1
    suffix: int = 1
    positions: Positions = "all"
    source: str = ""

    def changed_neurons(self) -> tuple[str, ...]:
        """The neuron that a method acts on; none for directions of the residual stream."""
        return () if self.neuron is None else (self.neuron,)


@dataclass(frozen=True)
class InterventionCell(_Steered):
    """Rollouts of a steered model on prompts of a behavior.

    Attributes:
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split and role.
        role: "positive" for the prompts that are steered, "negative" for the benign ones beside them (X−).
    """

    rolls_out = True
    usual = MappingProxyType({"role": "positive"})

    horizon: int = 32
    prompts: tuple[str, ...] = ()
    role: Role = "positive"


@dataclass(frozen=True)
class CapabilityCell(_Steered):
    """A steered model's reading of the undosed model's generic answers; one row for each answer."""


@dataclass(frozen=True)
class AreaCell(Cell):
    """How well every neuron's activation at the last prompt position tells X+ from X−: areas under the curve."""
