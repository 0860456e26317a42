"""What a cell does to the model: its operations, and the directions that some of them inject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from controlwindow.behaviors import Behavior
from controlwindow.instruments.arrays import unpack_array
from controlwindow.instruments.attention import attention_pushes
from controlwindow.instruments.cells import PinCell, PropagationCell, RolloutCell
from controlwindow.instruments.circuit_cells import DirectionCell, DirectionEffectCell, DirectionsCell, SetCell
from controlwindow.instruments.control_cells import AnswerCell, MoveCell, OrdinaryCell, PushCell, RetentionCell
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.operations import Add, Inject, Operation, Pin, Positions, RowOperations, Scale
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.running.directions import measure_directions
from controlwindow.running.ledger import Ledger
from controlwindow.statistics import stable_seed

RolledOut = RolloutCell | PinCell | SetCell | DirectionCell | PushCell
"""Cells whose rows are rollouts."""

ROLLED_OUT = (RolloutCell, PinCell, SetCell, DirectionCell, PushCell)

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

    def operations(self, cell: RolledOut | PropagationCell, model: Model | None = None) -> RowOperations:
        """The operations on every row of a cell.

        Args:
            cell: The cell.
            model: The model in another precision, where the cell asks for it.
        """
        if isinstance(cell, SetCell):
            return scalings(cell.neurons, cell.factor, _positions(cell.positions))
        if isinstance(cell, DirectionCell):
            return (self.injection(cell, cell.strength),)
        if isinstance(cell, PushCell):
            return change_operations(self.model, cell)
        return () if cell.neuron is None else (_operation(model or self.model, cell),)

    def injection(self, cell: DirectionCell | DirectionEffectCell, strength: float) -> Inject:
        """The injection of a cell's direction: a unit vector times the strength times the layer's median ‖r_L‖.

        Raises:
            ScreenError: The direction cannot be measured on this behavior.
        """
        unit = nn.functional.normalize(self._vector(cell), dim=0)
        length = strength * self.generic.residual_norm[cell.layer]
        return Inject(cell.layer, length * unit, _positions(cell.positions))

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
    positions = _positions(cell.positions)
    sizes = dict(zip(cell.layers, cell.sizes, strict=True))
    pushes = attention_pushes(model, sizes, cell.seed, positions)
    return (*scalings(cell.neurons, cell.factor, positions), *pushes)


def _positions(positions: str) -> Positions:
    return "generated" if positions == "generated" else "all"


def _operation(model: Model, cell: RolloutCell | PinCell | PropagationCell) -> Operation:
    assert cell.neuron is not None
    neuron = Neuron.parse(cell.neuron)
    if isinstance(cell, PinCell):
        return Pin(neuron, cell.value)
    positions = _positions(cell.positions)
    if isinstance(cell, RolloutCell) and cell.site == "residual":
        direction = nn.functional.normalize(write_direction(model, neuron).float(), dim=0)
        return Inject(neuron.layer, cell.alpha * direction, positions)
    return Add(neuron, cell.alpha, positions)
