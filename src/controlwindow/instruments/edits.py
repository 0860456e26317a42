"""Edits: the few ways in which anything here changes a forward pass. Every operation is made of them.

What the fast path needs to know of a change, each kind says itself: the first block that it touches, whether it comes
to nothing, and the vector that it adds to the block's output where that is known beforehand. A kind that says none of
this acts through hooks alone, in rows of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from controlwindow.errors import OperationError
from controlwindow.models import Model, Neuron, write_direction

Landing = Literal["block", "attention"]
"""Where a vector is added: to the block's output, or to what attention adds to the residual stream in the block."""

Change = Callable[[torch.Tensor], torch.Tensor]
"""Gives new values for old ones, of the same shape.

It sees one row at a time, of which a pass may hold many positions or one: what it makes of a position must not depend
on the others.
"""


class Edit(ABC):
    """One change of a forward pass."""

    @property
    @abstractmethod
    def first_layer(self) -> int:
        """The first block that it touches."""

    @abstractmethod
    def check(self, model: Model) -> None:
        """Hold it against the model before anything runs.

        Raises:
            NeuronError: A neuron lies outside the model.
            OperationError: It does not fit the model's width or depth.
        """

    def does_nothing(self) -> bool:
        """Whether a row with this alone is its prompt's undosed row."""
        return False

    def added(self, model: Model) -> torch.Tensor | None:
        """By what it moves the block's output at every position, [d_model], float32; None where that is not fixed."""
        return None


@dataclass(frozen=True)
class ChangeActivation(Edit):
    """a ← a·scale + offset, at the input of the FFN's output projection."""

    neuron: Neuron
    scale: float = 1.0
    offset: float = 0.0

    @property
    def first_layer(self) -> int:
        """The neuron's."""
        return self.neuron.layer

    def check(self, model: Model) -> None:
        """The neuron must exist."""
        model.require(self.neuron)

    def does_nothing(self) -> bool:
        """Whether it maps every activation to itself."""
        return self.scale == 1 and self.offset == 0

    def added(self, model: Model) -> torch.Tensor | None:
        """α·v, where no expert, gate or norm stands between the activation and the residual stream."""
        ffn = model.ffn[self.neuron.layer]
        plain = self.neuron.expert is None and ffn.shared_gate is None and ffn.post_norm is None
        return self.offset * write_direction(model, self.neuron).float() if plain and self.scale == 1 else None


@dataclass(frozen=True)
class MapActivation(Edit):
    """a ← change(a) for one row's activations, [positions], at the input of the FFN's output projection."""

    neuron: Neuron
    change: Change

    @property
    def first_layer(self) -> int:
        """The neuron's."""
        return self.neuron.layer

    def check(self, model: Model) -> None:
        """The neuron must exist."""
        model.require(self.neuron)


@dataclass(frozen=True, eq=False)
class AddVector(Edit):
    """r ← r + vector, [d_model], behind a block or behind its attention."""

    layer: int
    vector: torch.Tensor
    site: Landing = "block"

    @property
    def first_layer(self) -> int:
        """The block."""
        return self.layer

    def check(self, model: Model) -> None:
        """Block and width must be the model's."""
        if not 0 <= self.layer < model.layers or self.vector.shape[0] != model.d_model:
            raise OperationError(
                f"an injection of {tuple(self.vector.shape)} at layer {self.layer} does not fit "
                f"{model.name} ({model.layers} layers, width {model.d_model})"
            )

    def added(self, model: Model) -> torch.Tensor | None:
        """The vector; None behind attention, where the FFN answers it."""
        return self.vector.to(model.device, torch.float32) if self.site == "block" else None


@dataclass(frozen=True, eq=False)
class RemoveDirection(Edit):
    """r ← r − share·(r·u)u wherever the residual stream is read, in every layer; u is the direction, normalised."""

    direction: torch.Tensor
    share: float = 1.0

    @property
    def first_layer(self) -> int:
        """0."""
        return 0

    def check(self, model: Model) -> None:
        """The width must be the model's."""
        if self.direction.shape[0] != model.d_model:
            raise OperationError(
                f"a direction of {tuple(self.direction.shape)} does not fit {model.name} (width {model.d_model})"
            )

    def does_nothing(self) -> bool:
        """Whether nothing is taken out."""
        return self.share == 0


@dataclass(frozen=True)
class MapResidual(Edit):
    """r ← change(r) for one row's residual stream behind a block, [positions, d_model], after what else acts there."""

    layer: int
    change: Change

    @property
    def first_layer(self) -> int:
        """The block."""
        return self.layer

    def check(self, model: Model) -> None:
        """The block must be the model's."""
        if not 0 <= self.layer < model.layers:
            raise OperationError(f"layer {self.layer} does not fit {model.name} ({model.layers} layers)")
