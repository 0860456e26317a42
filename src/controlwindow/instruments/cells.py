"""Cells: what is to be measured, as data. Planners ask for cells, the scheduler looks them up or has them run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, get_args

from controlwindow.instruments.circuit_cells import CircuitCell
from controlwindow.instruments.control_cells import ControlCell
from controlwindow.instruments.intervention_cells import ComparisonCell

Rows = list[dict[str, Any]]
"""What a cell measured: JSON values, one dict per prompt (rollouts) or a single one."""


Site = Literal["activation", "residual"]
"""Where a dose enters: a neuron's activation, or the residual stream after its block."""

Role = Literal["positive", "negative"]
"""Prompts that are steered (X+), or the benign ones beside them (X−)."""


@dataclass(frozen=True)
class RolloutCell:
    """Rollouts of one dose of one neuron on prompts of a behavior.

    Attributes:
        behavior: The behavior's name.
        split: The split its prompts come from.
        neuron: The neuron's name; None for the undosed model.
        branch: +1 or −1.
        t: Dose in budget units, ≥ 0.
        alpha: The raw activation offset that t stands for, signed by the branch.
        positions: "all" or "generated".
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
        sample_seed: None for greedy decoding, a seed for sampling at temperature 1.
        site: "activation", or "residual": the neuron's direction, alpha long, added at the output of its block.
        precision: "model" for the type the model was loaded in, or "float32".
        role: "positive" for the prompts that are steered, "negative" for the benign ones beside them (X−).
    """

    behavior: str
    split: str
    neuron: str | None = None
    branch: int = 1
    t: float = 0.0
    alpha: float = 0.0
    positions: str = "all"
    horizon: int = 32
    prompts: tuple[str, ...] = ()
    sample_seed: int | None = None
    site: Site = "activation"
    precision: str = "model"
    role: Role = "positive"


@dataclass(frozen=True)
class PropagationCell:
    """How far a dose propagates, on the behavior's undosed rollouts (method section 3)."""

    behavior: str
    split: str
    neuron: str
    branch: int
    t: float
    alpha: float
    positions: str = "all"
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActivationCell:
    """Moments of every neuron's activation at the last prompt position over a contrast's two sides."""

    behavior: str
    split: str


@dataclass(frozen=True)
class ReadoutCell:
    """d_F·v of every neuron: what the write directions do to F when read out directly."""

    behavior: str
    split: str


@dataclass(frozen=True)
class GradientCell:
    """Moments of the gradient of F, and of its products with activations, at the last prompt position.

    Attributes:
        behavior: The behavior's name.
        split: The split its prompts come from.
        paired: On the behavior's perturbation pairs, where the gradient is taken at the first of each; else on X+.
    """

    behavior: str
    split: str
    paired: bool = False


@dataclass(frozen=True)
class PerturbationCell:
    """PP's importance of every neuron over the behavior's perturbation pairs."""

    behavior: str
    split: str


@dataclass(frozen=True)
class ReferenceCell:
    """ONE's gradient and activation of every neuron at the positions after the instruction, on X+ and on X−."""

    behavior: str
    split: str


@dataclass(frozen=True)
class DosedCell:
    """What a dose of each of a layer's neurons does to given answers, on both branches, teacher-forced.

    Attributes:
        behavior: The behavior's name.
        split: The split its prompts come from.
        layer: The layer.
        coordinate: |c| of the doses.
        positions: "all" or "generated".
        first: Number of the first prompt of the contrast that is used.
        prompts: How many are used from there.
        generic: How many generic answers damage is measured on.
        columns: Columns of the dosed neurons in their layer; empty for all.
    """

    behavior: str
    split: str
    layer: int
    coordinate: float
    positions: str
    first: int
    prompts: int
    generic: int
    columns: tuple[int, ...] = ()


@dataclass(frozen=True)
class PinCell:
    """Rollouts of one neuron pinned to a value on prompts of a behavior (ONE).

    Attributes:
        behavior: The behavior's name.
        split: The split its prompts come from.
        neuron: The neuron's name.
        value: What its activation is set to at every position.
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
    """

    behavior: str
    split: str
    neuron: str
    value: float
    horizon: int = 32
    prompts: tuple[str, ...] = ()


ScreenCell = ReadoutCell | GradientCell | PerturbationCell | ReferenceCell | DosedCell
"""Cells that only screens ask for, each with one row for all neurons it covers."""

Cell = (
    RolloutCell | PropagationCell | ActivationCell | PinCell | ScreenCell | CircuitCell | ControlCell | ComparisonCell
)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Cell)}


def cell_key(cell: Cell) -> str:
    """Canonical text of a cell; equal cells have equal keys, and `cell_from_key` gives the cell back."""
    values = asdict(cell)
    # Cells of the usual site, precision and role keep the key that they had before there were others.
    for name, usual in (("site", "activation"), ("precision", "model"), ("role", "positive")):
        if values.get(name) == usual:
            del values[name]
    return json.dumps([type(cell).__name__, values], sort_keys=True, separators=(",", ":"))


def cell_from_key(key: str) -> Cell:
    """The cell of a key."""
    name, values = json.loads(key)
    kind = _KINDS[name]
    known = {f.name for f in fields(kind)}
    found: Cell = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})
    return found


class Planner(Protocol):
    """Asks for cells and reads their rows; pure, so that replaying a ledger brings it to the same state."""

    def next_cells(self) -> Sequence[Cell]:
        """Cells needed next; empty when the planner is done."""

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take the rows of the cells last asked for."""
