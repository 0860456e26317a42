"""Operations on a forward pass: add a dose, pin, scale (0 ablates), inject, ablate a direction. Frozen data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, SupportsFloat

import torch

from controlwindow.errors import OperationError
from controlwindow.models import Model, Neuron

Positions = Literal["all", "generated"]
"""`all`, or `generated`: from the last prompt position on, which emits the first token."""

Landing = Literal["block", "attention"]
"""Where a vector is added: to the block's output, or to what attention adds to the residual stream in the block."""


def _check_positions(positions: str) -> None:
    if positions not in ("all", "generated"):
        raise OperationError(f"unknown positions {positions!r}", "use 'all' or 'generated'")


def _check_finite(value: float, what: str) -> None:
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat) or not math.isfinite(value):
        raise OperationError(f"{what} must be a finite number, got {value!r}"[:200])


@dataclass(frozen=True)
class Dose:
    """A dose in budget units: the activation moves by t·B with B = ‖r_L‖/‖v‖ (LAW; method section 1).

    Attributes:
        neuron: The dosed neuron.
        t: Signed dose in budget units; its sign is the branch.
        positions: Where the dose is added.
    """

    neuron: Neuron
    t: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        _check_positions(self.positions)
        _check_finite(self.t, "a dose")

    @property
    def branch(self) -> int:
        """Sign of the dose; +1 for t = 0."""
        return -1 if self.t < 0 else 1

    def alpha(self, model: Model) -> float:
        """The raw activation offset α = t·B, from the model's generic pass."""
        from controlwindow.instruments.generic import generic_pass  # the generic pass is itself made of rollouts

        return self.t * generic_pass(model).budget(model, self.neuron)


@dataclass(frozen=True)
class Add:
    """Add a raw offset to one activation."""

    neuron: Neuron
    alpha: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        _check_positions(self.positions)
        _check_finite(self.alpha, "an offset")

    @property
    def branch(self) -> int:
        """Sign of the offset; +1 for 0."""
        return -1 if self.alpha < 0 else 1


@dataclass(frozen=True)
class Pin:
    """Set one activation to a value (ONE: a ← m)."""

    neuron: Neuron
    value: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        _check_positions(self.positions)
        _check_finite(self.value, "a pinned value")


@dataclass(frozen=True)
class Scale:
    """Multiply one activation (CNA); 0 ablates the neuron."""

    neuron: Neuron
    factor: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        _check_positions(self.positions)
        _check_finite(self.factor, "a factor")


@dataclass(frozen=True, eq=False)
class Inject:
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
        _check_positions(self.positions)
        if self.site not in ("block", "attention"):
            raise OperationError(f"unknown site {self.site!r}", "use 'block' or 'attention'")
        if self.vector.ndim != 1 or not bool(torch.isfinite(self.vector).all()):
            raise OperationError(f"an injected vector is finite and [d_model], got {tuple(self.vector.shape)}")


@dataclass(frozen=True, eq=False)
class AblateDirection:
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
        _check_positions(self.positions)
        _check_finite(self.share, "a share")
        vector = self.direction
        if vector.ndim != 1 or not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise OperationError(
                f"an ablated direction is finite, [d_model] and not zero, got {tuple(vector.shape)}",
                "two prompt sets with equal means have no direction between them",
            )


Operation = Dose | Add | Pin | Scale | Inject | AblateDirection
RowOperations = tuple[Operation, ...]
"""What happens to one row of a batch, in order; empty for an undosed row."""


def row_operations(operation: Operation | Sequence[Operation] | None) -> RowOperations:
    """Normalise what a caller gives for one row.

    Raises:
        OperationError: It is none.
    """
    if operation is None:
        return ()
    if isinstance(operation, Operation):
        return (operation,)
    if not isinstance(operation, Sequence) or not all(isinstance(each, Operation) for each in operation):
        raise OperationError(
            f"{type(operation).__name__} {operation!r} is no operation"[:200],
            'give operations such as cw.Dose("L3.N7", 0.5), or None for the undosed model',
        )
    return tuple(operation)


def check_operations(model: Model, rows: Sequence[RowOperations]) -> None:
    """Hold every operation against the model before anything runs.

    Raises:
        NeuronError: A neuron lies outside the model.
        OperationError: An injection or a direction has the wrong width or layer.
    """
    for operations in rows:
        for operation in operations:
            if isinstance(operation, AblateDirection):
                if operation.direction.shape[0] != model.d_model:
                    raise OperationError(
                        f"a direction of {tuple(operation.direction.shape)} does not fit {model.name} "
                        f"(width {model.d_model})"
                    )
            elif isinstance(operation, Inject):
                if not 0 <= operation.layer < model.layers or operation.vector.shape[0] != model.d_model:
                    raise OperationError(
                        f"an injection of {tuple(operation.vector.shape)} at layer {operation.layer} does not fit "
                        f"{model.name} ({model.layers} layers, width {model.d_model})"
                    )
            else:
                model.require(operation.neuron)
