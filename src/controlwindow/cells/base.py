"""What every cell states: its behavior, its split, whether it rolls out, the neurons it changes, who it runs with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

from controlwindow.behaviors.prompts import Split
from controlwindow.errors import LedgerError
from controlwindow.plugins import HANDLERS, load_plugin

Rows = list[dict[str, Any]]
"""What a cell measured: JSON values, one dict per prompt (rollouts) or a single one."""


@dataclass(frozen=True)
class Cell:
    """What is to be measured, as data. A subclass is known by its name, which is what ledgers hold.

    Attributes:
        behavior: The behavior's name.
        split: The split its prompts come from.
    """

    behavior: str
    split: Split

    rolls_out: ClassVar[bool] = False
    """Whether its rows are rollouts: a prediction for a neuron that it changes must have been committed before."""

    usual: ClassVar[Mapping[str, Any]] = {}
    """Fields that came later, with the value that a key written before them stands for; it is left out of the key."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            _KINDS[cls.__name__] = cls

    def changed_neurons(self) -> tuple[str, ...]:
        """Names of the neurons that are dosed, pinned, scaled or otherwise changed while this is measured."""
        return ()

    def batch(self) -> tuple[str, ...]:
        """What cells have in common that may be measured together."""
        return type(self).__name__, self.behavior

    @property
    def key(self) -> str:
        """Canonical text of the cell; equal cells have equal keys, and `cell_from_key` gives the cell back."""
        values = asdict(self)
        for name, usual in self.usual.items():
            if values[name] == usual:
                del values[name]
        return json.dumps([type(self).__name__, values], sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The cell of a key's values; what this version does not know is left out."""
        known = {f.name for f in fields(cls)}
        taken: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**taken)


_KINDS: dict[str, type[Cell]] = {}


def cell_key(cell: Cell) -> str:
    """Canonical text of a cell."""
    return cell.key


def cell_from_key(key: str) -> Cell:
    """The cell of a key.

    Raises:
        LedgerError: No such cell is known here.
        ExtensionError: The extension that has it cannot be loaded.
    """
    name, values = json.loads(key)
    if name not in _KINDS:
        load_plugin(HANDLERS, name)
    if name not in _KINDS:
        raise LedgerError(
            f"a ledger holds cells of the kind {name!r}, which is unknown here",
            "install the version or the extension that wrote it",
        )
    return _KINDS[name].from_values(values)


class Planner(Protocol):
    """Asks for cells and reads their rows; pure, so that replaying a ledger brings it to the same state."""

    def next_cells(self) -> Sequence[Cell]:
        """Cells needed next; empty when the planner is done."""

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take the rows of the cells last asked for."""
