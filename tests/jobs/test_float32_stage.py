"""The float32 stage: only close verdicts are measured again, and float32 counts where it disagrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controlwindow.cells import RolloutCell, Rows
from controlwindow.curves import SaturationCurve
from controlwindow.jobs.audit.precision import check_in_float32
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.search import Candidate, SearchTask, WindowSearch
from controlwindow.windows.window import read_search

COUNT = 16
PROMPTS = tuple(f"p{i:02d}" for i in range(COUNT))
FLIPPING = {"L0.N0": (16, 16), "L0.N1": (8, 7), "L0.N2": (9, 9), "L0.N3": (0, 0)}
"""Prompts that flip from c = 0.3 on in the model's precision and in float32."""


class FakeRunner:
    """Neurons whose flips depend on the precision; all collapse at 0.8."""

    def __init__(self) -> None:
        self.exact: list[RolloutCell] = []

    def rows_in(self, cell: RolloutCell) -> int:
        return len(cell.prompts)

    def is_sensitive(self, cell: RolloutCell) -> bool:
        return False

    def run(self, cells: Sequence[RolloutCell]) -> Mapping[RolloutCell, Rows]:
        assert len({cell.precision for cell in cells}) == 1, "precisions share a chunk"
        self.exact += [cell for cell in cells if cell.precision == "float32"]
        return {cell: [self.row(cell, prompt) for prompt in cell.prompts] for cell in cells}

    def row(self, cell: RolloutCell, prompt: str) -> dict[str, object]:
        count = FLIPPING[cell.neuron][cell.precision == "float32"]
        c = cell.t / np.sqrt(1 + cell.t**2)
        flips = c >= 0.29 and PROMPTS.index(prompt) < count
        outcome = "collapsed" if c >= 0.79 else "switched" if flips else "unswitched"
        return {"prompt": prompt, "outcomes": {"16": outcome}, "coordinate": float(c), "ties": 0}


def searches() -> dict[tuple[str, int], WindowSearch]:
    task = SearchTask("mode", "evaluate", PROMPTS, 16, frozenset({"switched"}))
    undosed = [{"prompt": p, "outcomes": {"16": "unswitched"}, "coordinate": 0.0, "ties": 0} for p in PROMPTS]
    return {(name, 1): WindowSearch(Candidate(name, 1, SaturationCurve(0.0), 2.0), task, undosed) for name in FLIPPING}


def test_close_verdicts_are_measured_again_and_float32_counts():
    runner, found = FakeRunner(), searches()
    with Ledger() as ledger:
        scheduler = Scheduler(ledger, runner, chunk_rows=64)
        scheduler.run("windows", list(found.values()))
        readings = {key: read_search(search, 0) for key, search in found.items()}
        checked = check_in_float32(scheduler, "mode", found, readings, 0)
        asked = len(runner.exact)
        again = check_in_float32(scheduler, "mode", found, readings, 0)
        assert len(runner.exact) == asked, "what the ledger holds is measured again"
    assert again.checks == checked.checks
    assert set(checked.checks) == {("L0.N1", 1), ("L0.N2", 1)}
    assert {cell.neuron for cell in runner.exact} == {"L0.N1", "L0.N2"}
    assert all(cell.prompts == PROMPTS for cell in runner.exact)
    assert [readings[key].open for key in found] == [True, True, True, False]
    assert [checked.readings[key].open for key in found] == [True, False, True, False]
    assert not checked.checks["L0.N1", 1].holds
    assert checked.checks["L0.N2", 1].holds
    for key in found:
        same = checked.searches[key] is found[key]
        assert same == (key != ("L0.N1", 1))
        assert checked.readings[key] == read_search(checked.searches[key], 0)
