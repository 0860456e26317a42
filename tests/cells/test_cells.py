"""What cells state of themselves: whether they roll out, whom they change, whom they run with."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from controlwindow.cells import (
    AnswerCell,
    CapabilityCell,
    Cell,
    DetectionCell,
    DirectionCell,
    InterventionCell,
    OrdinaryCell,
    PinCell,
    PropagationCell,
    PushCell,
    RolloutCell,
    SetCell,
    SetEffectCell,
    cell_from_key,
    cell_key,
)
from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger

BOTH = ("L0.N1", "L1.N2")


@dataclass(frozen=True)
class NudgeCell(Cell):
    """A kind of cell that this package knows nothing of."""

    rolls_out = True

    name: str = "L0.N1"

    def changed_neurons(self) -> tuple[str, ...]:
        return (self.name,)


@pytest.mark.parametrize(
    ("cell", "rolls_out", "neurons"),
    [
        (RolloutCell("b", "evaluate", "L0.N1"), True, ("L0.N1",)),
        (RolloutCell("b", "evaluate"), True, ()),
        (PinCell("b", "select", "L0.N1", 1.0), True, ("L0.N1",)),
        (SetCell("b", "evaluate", BOTH), True, BOTH),
        (PushCell("b", "evaluate", BOTH), True, BOTH),
        (OrdinaryCell("b", "evaluate", BOTH), True, BOTH),
        (DirectionCell("b", "evaluate", "objective", 1, 0.5), True, ()),
        (InterventionCell("b", "evaluate", "pin", 1.0, "L0.N1"), True, ("L0.N1",)),
        (InterventionCell("b", "evaluate", "mean_difference", 1.0, layer=1), True, ()),
        (CapabilityCell("b", "evaluate", "pin", 1.0, "L0.N1"), False, ("L0.N1",)),
        (PropagationCell("b", "evaluate", "L0.N1", 1, 0.5, 1.0), False, ("L0.N1",)),
        (SetEffectCell("b", "find", BOTH, (1,)), False, BOTH),
        (AnswerCell("b", "evaluate", BOTH), False, BOTH),
        (DetectionCell("b", "find", BOTH), False, ()),
    ],
)
def test_a_cell_says_whether_it_rolls_out_and_whom_it_changes(cell, rolls_out, neurons):
    assert cell.rolls_out is rolls_out
    assert cell.changed_neurons() == neurons


def test_rollouts_of_a_kind_that_came_later_do_not_escape_the_order_of_events():
    with Ledger() as ledger:
        (teacher_forced,) = ledger.plan("s", [[PropagationCell("b", "evaluate", "L0.N1", 1, 0.5, 1.0)]])
        assert ledger.first_rollout("L0.N1") is None
        (chunk,) = ledger.plan("s", [[NudgeCell("b", "evaluate")]])
        assert ledger.first_rollout("L0.N1") == chunk.sequence > teacher_forced.sequence
        assert ledger.first_rollout("L0.N1", "b") == chunk.sequence
        assert ledger.first_rollout("L0.N1", "other") is None
        assert ledger.first_rollout("L0.N") is None


def test_a_set_that_is_scaled_together_counts_for_each_of_its_neurons():
    with Ledger() as ledger:
        (chunk,) = ledger.plan("s", [[SetCell("b", "evaluate", BOTH)]])
        assert [ledger.first_rollout(name) for name in BOTH] == [chunk.sequence] * 2


def test_a_cell_from_outside_is_known_by_its_name():
    cell = NudgeCell("b", "find", "L2.N3")
    assert cell_from_key(cell_key(cell)) == cell
    with pytest.raises(LedgerError, match="'NobodysCell', which is unknown here"):
        cell_from_key('["NobodysCell",{}]')


def test_samples_and_precisions_run_apart():
    greedy, sampled = RolloutCell("b", "evaluate", "L0.N1"), RolloutCell("b", "evaluate", "L0.N1", sample_seed=1)
    exact = RolloutCell("b", "evaluate", "L0.N1", precision="float32")
    assert len({greedy.batch(), sampled.batch(), exact.batch()}) == 3
    assert greedy.batch() == RolloutCell("b", "evaluate", "L9.N9", t=0.5).batch()
    assert greedy.batch() != RolloutCell("c", "evaluate", "L0.N1").batch()
