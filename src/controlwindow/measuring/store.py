"""What measuring asks of a ledger: rows that are there, completions kept apart, and a few notes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from controlwindow.cells import Cell, RolloutCell, Rows


class Store(Protocol):
    """A ledger, as far as measuring knows it."""

    def rows(self, cell: Cell) -> Rows | None:
        """A cell's rows, or None while it is not measured."""

    def completions(self, cell: Cell) -> Rows | None:
        """Completions that are kept apart, or None."""

    def rollout_cells(self, behavior: str, neuron: str) -> list[RolloutCell]:
        """Measured rollout cells of a neuron, in the order planned."""

    def find_all(self, kind: str) -> dict[str, Any]:
        """Every record of a kind by name."""

    def remember(self, kind: str, name: str, compute: Callable[[], Any]) -> Any:
        """A record's payload: what is there, else what is computed now."""
