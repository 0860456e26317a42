from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.cells import (
    ActivationCell,
    Cell,
    PropagationCell,
    RolloutCell,
    cell_from_key,
    cell_key,
)

CELLS: list[Cell] = [
    RolloutCell("refusal", "evaluate"),
    RolloutCell("refusal", "evaluate", "L3.N7", -1, 0.31, -2.5, "generated", 64, ("evaluate.p001", "é"), 7),
    PropagationCell("refusal", "evaluate", "L3.N7", 1, 0.5, 1.25),
    ActivationCell("refusal", "find"),
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_key_gives_its_cell_back(cell: Cell) -> None:
    assert cell_from_key(cell_key(cell)) == cell
    assert hash(cell_from_key(cell_key(cell))) == hash(cell)


@given(st.floats(0, 5), st.floats(-1e6, 1e6), st.sampled_from([1, -1]))
def test_doses_survive_the_key_exactly(t: float, alpha: float, branch: int) -> None:
    cell = RolloutCell("b", "select", "L0.N0", branch, t, alpha)
    assert cell_from_key(cell_key(cell)) == cell


def test_different_cells_have_different_keys() -> None:
    assert len({cell_key(cell) for cell in CELLS}) == len(CELLS)


def test_the_model_s_own_precision_is_not_part_of_a_key() -> None:
    # Ledgers written before there was another precision keep their keys.
    cell = RolloutCell("refusal", "evaluate", "L3.N7")
    exact = RolloutCell("refusal", "evaluate", "L3.N7", precision="float32")
    assert "precision" not in cell_key(cell)
    assert cell_key(cell) != cell_key(exact)
    assert cell_from_key(cell_key(exact)) == exact
