"""Operations on a forward pass: add an offset, pin, scale (0 ablates), inject, ablate a direction. Frozen data.

An operation says what it does as edits, and against what its control coordinate is read; the rest follows. One that is
not here is a subclass of `Operation` anywhere: hooks and the fast path ask it, they do not know it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, SupportsFloat

import torch

from controlwindow.errors import OperationError
from controlwindow.instruments.edits import AddVector, ChangeActivation, Edit, Landing, RemoveDirection
from controlwindow.models import Model, Neuron, write_direction

Positions = Literal["all", "generated"]
"""`all`, or `generated`: from the last prompt position on, which emits the first token."""


class Measured(NamedTuple):
    """Where a control coordinate is read, and against what.

    Attributes:
        site: The block at whose input the residual is read; the number of blocks for the final norm's.
        direction: s·v, [d_model].
    """

    site: int
    direction: torch.Tensor


def check_positions(positions: str) -> None:
    """Refuse positions that no operation knows.

    Raises:
        OperationError: They are neither all nor generated.
    """
    if positions not in ("all", "generated"):
        raise OperationError(f"unknown positions {positions!r}", "use 'all' or 'generated'")


def check_finite(value: float, what: str) -> None:
    """Refuse what is no finite number.

    Raises:
        OperationError: It is infinite, NaN, or no number at all.
    """
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat) or not math.isfinite(value):
        raise OperationError(f"{what} must be a finite number, got {value!r}"[:200])


class Operation(ABC):
    """What happens to one row of a batch.

    Attributes:
        positions: Where it acts: at all positions, or at generated ones.
    """

    positions: Positions

    @abstractmethod
    def edits(self, model: Model) -> tuple[Edit, ...]:
        """What it comes to in this model, in order."""

    def measured(self, model: Model) -> Measured | None:
        """Site and direction of the control coordinate, if there is one."""
        return None

    def check(self, model: Model) -> None:
        """Hold the operation against the model before anything runs.

        Raises:
            NeuronError: A neuron lies outside the model.
            OperationError: A vector or a direction has the wrong width or layer.
        """
        for edit in self.edits(model):
            edit.check(model)

    def first_layer(self, model: Model) -> int:
        """The first block in which it acts."""
        return min((edit.first_layer for edit in self.edits(model)), default=0)

    def does_nothing(self, model: Model) -> bool:
        """Whether a row with this alone is its prompt's undosed row."""
        return all(edit.does_nothing() for edit in self.edits(model))

    def added(self, model: Model) -> torch.Tensor | None:
        """What it adds to the output of its block at every position, [d_model]; None where that is not all it does."""
        edits = self.edits(model)
        vectors = [edit.added(model) for edit in edits]
        known = [vector for vector in vectors if vector is not None]
        if len(known) < len(vectors) or len({edit.first_layer for edit in edits}) != 1:
            return None
        return known[0] if len(known) == 1 else torch.stack(known).sum(0)


@dataclass(frozen=True)
class Add(Operation):
    """Add a raw offset to one activation."""

    neuron: Neuron
    alpha: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        check_positions(self.positions)
        check_finite(self.alpha, "an offset")

    @property
    def branch(self) -> int:
        """Sign of the offset; +1 for 0."""
        return -1 if self.alpha < 0 else 1

    def edits(self, model: Model) -> tuple[Edit, ...]:
        """a ← a + α."""
        return (ChangeActivation(self.neuron, offset=self.alpha),)

    def measured(self, model: Model) -> Measured:
        """Behind the neuron's block, against s·v."""
        return Measured(self.neuron.layer + 1, self.branch * write_direction(model, self.neuron))


@dataclass(frozen=True)
class Pin(Operation):
    """Set one activation to a value (ONE: a ← m)."""

    neuron: Neuron
    value: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        check_positions(self.positions)
        check_finite(self.value, "a pinned value")

    def edits(self, model: Model) -> tuple[Edit, ...]:
        """a ← m."""
        return (ChangeActivation(self.neuron, scale=0.0, offset=self.value),)

    def measured(self, model: Model) -> Measured:
        """Behind the neuron's block, against v."""
        return Measured(self.neuron.layer + 1, write_direction(model, self.neuron))


@dataclass(frozen=True)
class Scale(Operation):
    """Multiply one activation (CNA); 0 ablates the neuron."""

    neuron: Neuron
    factor: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        check_positions(self.positions)
        check_finite(self.factor, "a factor")

    def edits(self, model: Model) -> tuple[Edit, ...]:
        """a ← factor·a."""
        return (ChangeActivation(self.neuron, scale=self.factor),)

    def measured(self, model: Model) -> Measured:
        """Behind the neuron's block, against v."""
        return Measured(self.neuron.layer + 1, write_direction(model, self.neuron))


@dataclass(frozen=True, eq=False)
class Inject(Operation):
    """Add a vector to the residual stream, by default at the output of a block, after its FFN and any norm.

    Attributes:
        layer: The block.
        vector: What is added, [d_model].
        positions: Where it is added.
        site: "block", or "attention": after the block's attention and any norm of it, so that its FFN reads the change
            (in a parallel block, where the FFN reads what attention reads, only what follows the block does).
    """

    layer: int
    vector: torch.Tensor
    positions: Positions = "all"
    site: Landing = "block"

    def __post_init__(self) -> None:
        check_positions(self.positions)
        if self.site not in ("block", "attention"):
            raise OperationError(f"unknown site {self.site!r}", "use 'block' or 'attention'")
        if self.vector.ndim != 1 or not bool(torch.isfinite(self.vector).all()):
            raise OperationError(f"an injected vector is finite and [d_model], got {tuple(self.vector.shape)}")

    def edits(self, model: Model) -> tuple[Edit, ...]:
        """r ← r + vector."""
        return (AddVector(self.layer, self.vector, self.site),)

    def measured(self, model: Model) -> Measured:
        """Behind the block, against the vector."""
        return Measured(self.layer + 1, self.vector)


@dataclass(frozen=True, eq=False)
class AblateDirection(Operation):
    """Take a direction out of the residual stream, in every layer (Arditi et al. 2024): r ← r − share·(r·u)u.

    It acts wherever the residual is read: where it enters the first block, where a block's FFN reads what attention
    has added to it, and behind every block. With `share` 1 nothing in the model ever reads a component along u, which
    is their definition; smaller shares are ours, and compound from site to site.

    Attributes:
        direction: The direction, of any length, [d_model].
        share: How much of the component is taken out at each site; 1 takes out all of it.
        positions: Where it is taken out.
    """

    direction: torch.Tensor
    share: float = 1.0
    positions: Positions = "all"

    def __post_init__(self) -> None:
        check_positions(self.positions)
        check_finite(self.share, "a share")
        vector = self.direction
        if vector.ndim != 1 or not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise OperationError(
                f"an ablated direction is finite, [d_model] and not zero, got {tuple(vector.shape)}",
                "two prompt sets with equal means have no direction between them",
            )

    def edits(self, model: Model) -> tuple[Edit, ...]:
        """r ← r − share·(r·u)u."""
        return (RemoveDirection(self.direction, self.share),)


RowOperations = tuple[Operation, ...]
"""What happens to one row of a batch, in order; empty for an undosed row."""


def check_operations(model: Model, rows: Sequence[RowOperations]) -> None:
    """Hold every operation against the model before anything runs.

    Raises:
        NeuronError: A neuron lies outside the model.
        OperationError: Something is no operation, or one has a vector or a direction of the wrong width or layer.
    """
    for operation in {id(o): o for operations in rows for o in operations}.values():
        if not isinstance(operation, Operation):
            raise OperationError(
                f"{operation!r} is no operation", "a dose becomes one in dosing.row_operations(model, dose)"
            )
        operation.check(model)
