"""Cells of a circuit's controls: attention pushed by matched amounts, and what a change costs or does, measured."""

from __future__ import annotations

from dataclasses import dataclass

from controlwindow.cells.base import Cell
from controlwindow.instruments.operations import Positions


@dataclass(frozen=True)
class _Changed(Cell):
    """A change of the model: a set of neurons scaled together, or attention outputs pushed layer by layer.

    Attributes:
        neurons: Names of the neurons that are scaled; empty for none.
        factor: What their activations are multiplied by (CNA's m).
        layers: Layers whose attention output is pushed; empty for none.
        sizes: Length of the push in each of them.
        seed: Seed of the pushes' directions.
        positions: "all" or "generated".
    """

    neurons: tuple[str, ...] = ()
    factor: float = 1.0
    layers: tuple[int, ...] = ()
    sizes: tuple[float, ...] = ()
    seed: int = 0
    positions: Positions = "all"

    def changed_neurons(self) -> tuple[str, ...]:
        """The scaled set; none where attention alone is pushed."""
        return self.neurons


@dataclass(frozen=True)
class PushCell(_Changed):
    """Rollouts under a change on prompts of a behavior.

    Attributes:
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
    """

    rolls_out = True

    horizon: int = 32
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class MoveCell(_Changed):
    """How far a scaled set moves the residual of each layer, on undosed rollouts; one row."""

    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerCell(_Changed):
    """What a change does to target and source answers, teacher-forced; one row per prompt.

    Attributes:
        hold_attention: Whether attention outputs are held as they were undosed.
        prompts: Ids of the prompts, in order; empty for all of the split.
    """

    hold_attention: bool = False
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetentionCell(_Changed):
    """What is left of the model's undosed generic answers under a change, teacher-forced; one row per answer."""


@dataclass(frozen=True)
class OrdinaryCell(_Changed):
    """What a change makes of the answers to generic prompts, rolled out; one row per prompt.

    Attributes:
        horizon: Tokens to generate.
    """

    rolls_out = True

    horizon: int = 32


@dataclass(frozen=True)
class DetectionCell(Cell):
    """Activations of some neurons at the last position of both sides of a contrast; one row.

    Attributes:
        neurons: Names of the neurons.
    """

    neurons: tuple[str, ...]
