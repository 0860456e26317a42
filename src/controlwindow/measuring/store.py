"""What measuring asks of a run's ledger: rows that are there, and marks that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from controlwindow.cells import Cell, RolloutCell, Rows


class Store(Protocol):
    """Where measured cells are looked up. A ledger is one; who owns it decides what is committed."""

    def rows(self, cell: Cell) -> Rows | None:
        """A cell's rows, or None while it is not measured."""

    def completions(self, cell: Cell) -> Rows | None:
        """The separately stored completions of a cell's rows; None where they are not at hand."""

    def rollout_cells(self, behavior: str, neuron: str) -> Sequence[RolloutCell]:
        """Measured rollout cells of a neuron, in the order planned."""

    def find(self, kind: str, name: str) -> Any | None:
        """A record's payload, or None."""

    def find_all(self, kind: str) -> Mapping[str, Any]:
        """Every record of a kind by name, in the order written."""

    def record(self, kind: str, name: str, payload: Any) -> None:
        """Write one record; it is never changed afterwards."""
