"""What a cell does to the model: its operations, and the directions that some of them inject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import nn

from controlwindow.behaviors import Behavior
from controlwindow.cells import (
    AnswerCell,
    CapabilityCell,
    Cell,
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
from controlwindow.errors import ExtensionError, LedgerError
from controlwindow.instruments.anchoring import Anchor
from controlwindow.instruments.arrays import unpack_array
from controlwindow.instruments.attention import attention_pushes
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.operations import (
    AblateDirection,
    Add,
    Inject,
    Pin,
    Positions,
    RowOperations,
    Scale,
)
from controlwindow.measuring.answers import Answers
from controlwindow.measuring.directions import mean_difference, measure_directions
from controlwindow.measuring.store import Store
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.statistics import stable_seed

RolledOut = RolloutCell | PinCell | SetCell | DirectionCell | PushCell | InterventionCell
"""Cells whose rows are rollouts."""

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
        answers: Reads the behaviors' texts, which a direction may be made of.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    ledger: Store
    answers: Answers
    _directions: dict[DirectionsCell, Mapping[str, Any]] = field(default_factory=dict)
    _differences: dict[str, torch.Tensor] = field(default_factory=dict)
    _vectors: dict[str, tuple[int, torch.Tensor]] = field(default_factory=dict)

    def row_operations(
        self, cell: Cell, prompt_ids: Sequence[Sequence[int]], model: Model | None = None
    ) -> list[RowOperations]:
        """The operations on each row of a cell; only those of an anchor depend on the prompt.

        Args:
            cell: The cell.
            prompt_ids: Its prompts as token ids.
            model: The model in another precision, where the cell asks for it.

        Raises:
            ScreenError: The cell's direction cannot be measured on its behavior.
            OperationError: The two prompt sets have no direction between them.
            ExtensionError: As `operations`.
        """
        if isinstance(cell, InterventionCell | CapabilityCell) and cell.method == "anchor":
            assert cell.neuron is not None
            anchor = Anchor(Neuron.parse(cell.neuron), cell.strength, cell.gap, cell.multiple, cell.suffix)
            return [(pin,) for pin in anchor.pins(self.model, prompt_ids)]
        return [self.operations(cell, model)] * len(prompt_ids)

    def operations(self, cell: Cell, model: Model | None = None) -> RowOperations:
        """The operations on every row of a cell.

        Args:
            cell: The cell.
            model: The model in another precision, where the cell asks for it.

        Raises:
            ExtensionError: Nothing says what such a cell does to the model.
        """
        return operations_of(cell, self, model or self.model)

    def contrast_direction(self, behavior: str, layer: int) -> torch.Tensor:
        """The unit mean difference of a behavior's find split, [d_model], float32."""
        if behavior not in self._differences:
            self._differences[behavior] = mean_difference(self.model, self.behaviors[behavior], "find").float()
        return nn.functional.normalize(self._differences[behavior][layer], dim=0)

    def vector(self, name: str) -> tuple[int, torch.Tensor]:
        """A vector of the run, as its ledger holds it: its layer, and its values, [d_model], float32.

        Raises:
            LedgerError: The ledger holds none of that name.
        """
        if name not in self._vectors:
            found = self.ledger.find_all("vector").get(name)
            if found is None:
                raise LedgerError(f"the ledger holds no vector {name!r}", "start the run again with another --out")
            self._vectors[name] = (found["layer"], torch.tensor(unpack_array(found["values"]), dtype=torch.float32))
        return self._vectors[name]

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
            self._directions[source] = rows[0] if rows else measure_directions(self.answers, behavior, cell.found_on)
        packed = unpack_array(self._directions[source][cell.direction])
        if cell.direction == "mean_difference":
            packed = packed[cell.layer]
        return torch.tensor(packed, dtype=torch.float32)


@singledispatch
def operations_of(cell: Cell, steering: Steering, model: Model) -> RowOperations:
    """What a cell does to every row. Each kind of cell registers its own: `@operations_of.register(MyCell)`.

    Args:
        cell: The cell.
        steering: Knows the directions that some cells inject.
        model: The model that is acted on, perhaps in another precision.

    Raises:
        ExtensionError: Nothing is registered for such cells.
    """
    raise ExtensionError(
        f"nothing says what a {type(cell).__name__} does to the model",
        "register a function that does: @operations_of.register in controlwindow.measuring.steering",
    )


@operations_of.register(RolloutCell)
def _dose(cell: RolloutCell, steering: Steering, model: Model) -> RowOperations:
    if cell.neuron is None:
        return ()
    if cell.site == "vector":
        layer, vector = steering.vector(cell.neuron)
        return (Inject(layer, cell.alpha * vector, cell.positions),)
    neuron = Neuron.parse(cell.neuron)
    if cell.site == "residual":
        direction = nn.functional.normalize(write_direction(model, neuron).float(), dim=0)
        return (Inject(neuron.layer, cell.alpha * direction, cell.positions),)
    return (Add(neuron, cell.alpha, cell.positions),)


@operations_of.register(PropagationCell)
def _propagated(cell: PropagationCell, _steering: Steering, _model: Model) -> RowOperations:
    return (Add(Neuron.parse(cell.neuron), cell.alpha, cell.positions),)


@operations_of.register(PinCell)
def _pin(cell: PinCell, _steering: Steering, _model: Model) -> RowOperations:
    return (Pin(Neuron.parse(cell.neuron), cell.value),)


@operations_of.register(SetCell)
def _set(cell: SetCell, _steering: Steering, _model: Model) -> RowOperations:
    return scalings(cell.neurons, cell.factor, cell.positions)


@operations_of.register(DirectionCell)
def _direction(cell: DirectionCell, steering: Steering, _model: Model) -> RowOperations:
    return (steering.injection(cell, cell.strength),)


@operations_of.register(PushCell)
@operations_of.register(MoveCell)
@operations_of.register(AnswerCell)
@operations_of.register(RetentionCell)
@operations_of.register(OrdinaryCell)
def _change(cell: ChangeCell, steering: Steering, _model: Model) -> RowOperations:
    """Scalings of a set, then pushes of attention."""
    sizes = dict(zip(cell.layers, cell.sizes, strict=True))
    pushes = attention_pushes(steering.model, sizes, cell.seed, cell.positions)
    return (*scalings(cell.neurons, cell.factor, cell.positions), *pushes)


@operations_of.register(InterventionCell)
@operations_of.register(CapabilityCell)
def _method(cell: InterventionCell | CapabilityCell, steering: Steering, _model: Model) -> RowOperations:
    return () if cell.method is None else METHODS[cell.method](cell, steering)


def _mean_difference(cell: InterventionCell | CapabilityCell, steering: Steering) -> RowOperations:
    assert cell.layer is not None
    direction = steering.contrast_direction(cell.source or cell.behavior, cell.layer)
    return (Inject(cell.layer, cell.strength * direction, cell.positions),)


def _directional_ablation(cell: InterventionCell | CapabilityCell, steering: Steering) -> RowOperations:
    assert cell.layer is not None
    return (AblateDirection(steering.contrast_direction(cell.source or cell.behavior, cell.layer), cell.strength),)


def _neuron(cell: InterventionCell | CapabilityCell) -> Neuron:
    assert cell.neuron is not None
    return Neuron.parse(cell.neuron)


METHODS: dict[str, Callable[[InterventionCell | CapabilityCell, Steering], RowOperations]] = {
    "add": lambda cell, _: (Add(_neuron(cell), cell.strength, cell.positions),),
    "pin": lambda cell, _: (Pin(_neuron(cell), cell.strength),),
    "ablate": lambda cell, _: (Scale(_neuron(cell), 1 - cell.strength, cell.positions),),
    "mean_difference": _mean_difference,
    "directional_ablation": _directional_ablation,
}
"""What a method of the comparison does, the same on every row."""


def scalings(neurons: tuple[str, ...], factor: float, positions: Positions) -> RowOperations:
    """One scaling for each neuron of a set."""
    return tuple(Scale(Neuron.parse(name), factor, positions) for name in neurons)
