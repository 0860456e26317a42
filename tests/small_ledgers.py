"""A small ledger with everything in it: records, chunks done and not, completions in it and apart."""

from __future__ import annotations

from pathlib import Path

from controlwindow.cells import RolloutCell
from controlwindow.runs.ledger import Ledger

OPEN, SECRET = "switching", "vaults"
"""A behavior, and a sensitive one."""


def a_cell(behavior: str, t: float, neuron: str = "L0.N1") -> RolloutCell:
    return RolloutCell(behavior, "evaluate", neuron, -1, t, -t, "all", 8, ("p1", "p2"))


def rows_of(cell: RolloutCell) -> list[dict]:
    return [
        {"prompt": p, "excess": 0.125, "text": f"{p} of {cell.behavior} at {cell.t}", "token_ids": [1, 2]}
        for p in cell.prompts
    ]


def write_ledger(path: Path, *, cells: int = 3) -> Path:
    """Two behaviors, of each `cells` cells in chunks of two; the last chunk of each is planned and not committed."""
    with Ledger(path, create=True) as ledger:
        ledger.record_all([("plan", "audit", {"seed": 7}), ("model", "model", {"name": "m"})])
        for behavior in (OPEN, SECRET):
            ledger.record("prediction", f"{behavior}/L0.N1/-1", {"c": 0.75})
            measured = [a_cell(behavior, 0.1 * (i + 1)) for i in range(cells)]
            chunks = ledger.plan(behavior, [measured[i : i + 2] for i in range(0, cells, 2)])
            for chunk in chunks[:-1]:
                ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells}, sensitive=behavior == SECRET)
        ledger.record("window", f"{OPEN}/L0.N1/-1", {"trigger": 0.3, "outcomes": [30, 30]})
    return path
