"""The engine: hands every cell of a chunk to the handler of its kind, and gives back rows of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from controlwindow.cells import Cell, Rows
from controlwindow.measuring.bench import Bench
from controlwindow.measuring.handlers.base import Handler, handler_of


@dataclass(repr=False, eq=False)
class Engine(Bench):
    """Measures cells of one model. Which cells there are it does not know."""

    _handlers: dict[type[Handler[Any]], Handler[Any]] = field(init=False, default_factory=dict)
    _of_kind: dict[type[Cell], Handler[Any]] = field(init=False, default_factory=dict)

    def rows_in(self, cell: Cell) -> int:
        """Batch rows of a cell.

        Raises:
            ExtensionError: Nothing measures such cells.
        """
        return self._handler(cell).rows_in(cell)

    def is_sensitive(self, cell: Cell) -> bool:
        """Whether a cell's completions are kept apart."""
        return self.behaviors[cell.behavior].sensitive

    def run(self, cells: Sequence[Cell]) -> dict[Cell, Rows]:
        """Measure cells; those of one handler may share batches.

        Raises:
            ExtensionError: Nothing measures such cells.
        """
        asked: dict[Handler[Any], list[Cell]] = {}
        for cell in cells:
            asked.setdefault(self._handler(cell), []).append(cell)
        results: dict[Cell, Rows] = {}
        for handler, its_own in asked.items():
            results |= handler.run(its_own)
        return results

    def _handler(self, cell: Cell) -> Handler[Any]:
        kind = type(cell)
        if kind not in self._of_kind:
            found = handler_of(kind)
            if found not in self._handlers:
                self._handlers[found] = found(self)
            self._of_kind[kind] = self._handlers[found]
        return self._of_kind[kind]
