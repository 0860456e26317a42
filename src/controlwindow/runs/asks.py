"""The smallest planner: a fixed list of cells, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlwindow.cells import Cell, Rows


class Asks:
    """The smallest planner: a fixed list of cells, once."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = list(cells)
        self.results: dict[Cell, Rows] = {}

    def next_cells(self) -> Sequence[Cell]:
        """The cells, until they are answered."""
        return [] if self.results else self._cells

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Keep the rows."""
        self.results = dict(results)
