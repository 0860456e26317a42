"""What a cell does to the model: its operations, and the directions that some of them inject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from controlwindow.behaviors import Behavior
from controlwindow.cells import (
    AnswerCell,
    CapabilityCell,
    DirectionCell,
    DirectionEffectCell,
    DirectionsCell,
    InterventionCell,
    MoveCell,
    OrdinaryCell,
    PinCell,
    PropagationCell,
    PushCell,
    RetentionCell,
    RolloutCell,
    SetCell,
)
from controlwindow.instruments.anchoring import Anchor
from controlwindow.instruments.arrays import unpack_array
from controlwindow.instruments.attention import attention_pushes
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.operations import (
    AblateDirection,
    Add,
    Inject,
    Operation,
    Pin,
    Positions,
    RowOperations,
    Scale,
)
from controlwindow.measuring.directions import mean_difference, measure_directions
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.runs.ledger import Ledger
from controlwindow.statistics import stable_seed

RolledOut = RolloutCell | PinCell | SetCell | DirectionCell | PushCell | InterventionCell
"""Cells whose rows are rollouts."""

ROLLED_OUT = (RolloutCell, PinCell, SetCell, DirectionCell, PushCell, InterventionCell)

ChangeCell = PushCell | MoveCell | AnswerCell | RetentionCell | OrdinaryCell
"""Cells that scale a set of neurons, or push attention."""


def is_undosed(cell: RolledOut) -> bool:
    """Whether a cell asks for the undosed model's own rollouts."""
    return isinstance(cell, RolloutCell) and cell.neuron is None


@dataclass
class Steering:
    """Turns cells into operations.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass, whose residual norms give an injection its length.
        ledger: Where measured directions are looked up.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    ledger: Ledger
    _directions: dict[DirectionsCell, Mapping[str, Any]] = field(default_factory=dict)
    _differences: dict[str, torch.Tensor] = field(default_factory=dict)

    def row_operations(
        self, cell: RolledOut | CapabilityCell, prompt_ids: Sequence[Sequence[int]], model: Model | None = None
    ) -> list[RowOperations]:
        """The operations on each row of a cell; only those of an anchor depend on the prompt.

        Args:
            cell: The cell.
            prompt_ids: Its prompts as token ids.
            model: The model in another precision, where the cell asks for it.

        Raises:
            ScreenError: The cell's direction cannot be measured on its behavior.
            OperationError: The two prompt sets have no direction between them.
        """
        if isinstance(cell, InterventionCell | CapabilityCell) and cell.method == "anchor":
            assert cell.neuron is not None
            anchor = Anchor(Neuron.parse(cell.neuron), cell.strength, cell.gap, cell.multiple, cell.suffix)
            return [(pin,) for pin in anchor.pins(self.model, prompt_ids)]
        operations = (
            self._steered(cell) if isinstance(cell, InterventionCell | CapabilityCell) else self.operations(cell, model)
        )
        return [operations] * len(prompt_ids)

    def _steered(self, cell: InterventionCell | CapabilityCell) -> RowOperations:
        """What a method of the comparison does, the same on every row."""
        positions = cell.positions
        if cell.method in ("mean_difference", "directional_ablation"):
            assert cell.layer is not None
            direction = self._contrast_direction(cell.source or cell.behavior, cell.layer)
            if cell.method == "mean_difference":
                return (Inject(cell.layer, cell.strength * direction, positions),)
            return (AblateDirection(direction, cell.strength),)
        if cell.method is None:
            return ()
        assert cell.neuron is not None
        neuron = Neuron.parse(cell.neuron)
        if cell.method == "add":
            return (Add(neuron, cell.strength, positions),)
        return (Pin(neuron, cell.strength),) if cell.method == "pin" else (Scale(neuron, 1 - cell.strength, positions),)

    def _contrast_direction(self, behavior: str, layer: int) -> torch.Tensor:
        """The unit mean difference of a behavior's find split, [d_model], float32."""
        if behavior not in self._differences:
            self._differences[behavior] = mean_difference(self.model, self.behaviors[behavior], "find").float()
        return nn.functional.normalize(self._differences[behavior][layer], dim=0)

    def operations(self, cell: RolledOut | PropagationCell, model: Model | None = None) -> RowOperations:
        """The operations on every row of a cell.

        Args:
            cell: The cell.
            model: The model in another precision, where the cell asks for it.
        """
        if isinstance(cell, SetCell):
            return scalings(cell.neurons, cell.factor, cell.positions)
        if isinstance(cell, DirectionCell):
            return (self.injection(cell, cell.strength),)
        if isinstance(cell, InterventionCell):
            return self._steered(cell)
        if isinstance(cell, PushCell):
            return change_operations(self.model, cell)
        return () if cell.neuron is None else (_operation(model or self.model, cell),)

    def injection(self, cell: DirectionCell | DirectionEffectCell, strength: float) -> Inject:
        """The injection of a cell's direction: a unit vector times the strength times the layer's median ‖r_L‖.

        Raises:
            ScreenError: The direction cannot be measured on this behavior.
        """
        unit = self._unit(cell)
        length = strength * self.generic.residual_norm[cell.layer]
        return Inject(cell.layer, length * unit, cell.positions)

    def _unit(self, cell: DirectionCell | DirectionEffectCell) -> torch.Tensor:
        return nn.functional.normalize(self._vector(cell), dim=0)

    def _vector(self, cell: DirectionCell | DirectionEffectCell) -> torch.Tensor:
        """The direction of a cell, [d_model], float32."""
        if cell.direction == "random":
            seed = stable_seed("random direction", cell.layer, cell.seed)
            drawn = np.random.default_rng(seed).standard_normal(self.model.d_model)
            return torch.tensor(drawn, dtype=torch.float32)
        name = cell.source or cell.behavior
        source = DirectionsCell(name, cell.found_on)
        if source not in self._directions:
            # From the ledger where it is there, so that a run gone on with injects what the first part injected.
            rows = self.ledger.rows(source)
            behavior = self.behaviors[name]
            self._directions[source] = rows[0] if rows else measure_directions(self.model, behavior, cell.found_on)
        packed = unpack_array(self._directions[source][cell.direction])
        if cell.direction == "mean_difference":
            packed = packed[cell.layer]
        return torch.tensor(packed, dtype=torch.float32)


def scalings(neurons: tuple[str, ...], factor: float, positions: Positions) -> RowOperations:
    """One scaling for each neuron of a set."""
    return tuple(Scale(Neuron.parse(name), factor, positions) for name in neurons)


def change_operations(model: Model, cell: ChangeCell) -> RowOperations:
    """What a cell of a circuit's controls does to every row: its scalings, then its pushes of attention."""
    positions = cell.positions
    sizes = dict(zip(cell.layers, cell.sizes, strict=True))
    pushes = attention_pushes(model, sizes, cell.seed, positions)
    return (*scalings(cell.neurons, cell.factor, positions), *pushes)


def _operation(model: Model, cell: RolloutCell | PinCell | PropagationCell) -> Operation:
    assert cell.neuron is not None
    neuron = Neuron.parse(cell.neuron)
    if isinstance(cell, PinCell):
        return Pin(neuron, cell.value)
    positions = cell.positions
    if isinstance(cell, RolloutCell) and cell.site == "residual":
        direction = nn.functional.normalize(write_direction(model, neuron).float(), dim=0)
        return Inject(neuron.layer, cell.alpha * direction, positions)
    return Add(neuron, cell.alpha, positions)
