"""Cells that screens ask for, each with one row for all neurons that it covers."""

from __future__ import annotations

from dataclasses import dataclass

from controlwindow.cells.base import Cell
from controlwindow.instruments.operations import Positions


@dataclass(frozen=True)
class ActivationCell(Cell):
    """Moments of every neuron's activation at the last prompt position over a contrast's two sides."""


@dataclass(frozen=True)
class ReadoutCell(Cell):
    """d_F·v of every neuron: what the write directions do to F when read out directly."""


@dataclass(frozen=True)
class GradientCell(Cell):
    """Moments of the gradient of F, and of its products with activations, at the last prompt position.

    Attributes:
        paired: On the behavior's perturbation pairs, where the gradient is taken at the first of each; else on X+.
    """

    paired: bool = False


@dataclass(frozen=True)
class PerturbationCell(Cell):
    """PP's importance of every neuron over the behavior's perturbation pairs."""


@dataclass(frozen=True)
class ReferenceCell(Cell):
    """ONE's gradient and activation of every neuron at the positions after the instruction, on X+ and on X−."""


@dataclass(frozen=True)
class DosedCell(Cell):
    """What a dose of each of a layer's neurons does to given answers, on both branches, teacher-forced.

    Attributes:
        layer: The layer.
        coordinate: |c| of the doses.
        positions: "all" or "generated".
        first: Number of the first prompt of the contrast that is used.
        prompts: How many are used from there.
        generic: How many generic answers damage is measured on.
        columns: Columns of the dosed neurons in their layer; empty for all.
    """

    layer: int
    coordinate: float
    positions: Positions
    first: int
    prompts: int
    generic: int
    columns: tuple[int, ...] = ()


@dataclass(frozen=True)
class TurnCell(Cell):
    """What a dose of each of a layer's neurons at one position does to the next token, on both branches.

    The position is that where the source answer and the target answer turn apart, so one token is dosed and one read.

    Attributes:
        layer: The layer.
        coordinate: |c| of the doses.
        first: Number of the first prompt of the contrast that is used.
        prompts: How many are used from there.
        columns: Columns of the dosed neurons in their layer; empty for all.
    """

    layer: int
    coordinate: float
    first: int
    prompts: int
    columns: tuple[int, ...] = ()
