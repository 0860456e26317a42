"""The scheduler: lockstep rounds, chunks fixed by the plan, and resumed runs equal to uninterrupted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from controlwindow.cells import RolloutCell, Rows
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler

PROMPTS = ("a", "b", "c")


def cell(neuron: str, t: float, seed: int | None = None) -> RolloutCell:
    return RolloutCell("b", "evaluate", neuron, 1, t, t, "all", 8, PROMPTS, seed)


class Killed(BaseException):
    pass


class FakeRunner:
    """Gives rows that depend on which cells share the chunk, as rounding does on a real machine."""

    def __init__(self, die_after: int | None = None) -> None:
        self.chunks: list[tuple[RolloutCell, ...]] = []
        self.die_after = die_after

    def rows_in(self, cell: RolloutCell) -> int:
        return len(cell.prompts)

    def is_sensitive(self, cell: RolloutCell) -> bool:
        return False

    def run(self, cells: Sequence[RolloutCell]) -> Mapping[RolloutCell, Rows]:
        if self.die_after is not None and len(self.chunks) >= self.die_after:
            raise Killed
        self.chunks.append(tuple(cells))
        company = sum(c.t for c in cells)
        return {c: [{"prompt": p, "value": company + c.t} for p in c.prompts] for c in cells}


class Bisection:
    """A planner that halves an interval until it is narrow, guided by the rows."""

    def __init__(self, neuron: str, target: float) -> None:
        self.neuron, self.target = neuron, target
        self.low, self.high = 0.0, 1.0
        self.seen: list[float] = []

    def next_cells(self) -> list[RolloutCell]:
        return [] if self.high - self.low < 0.05 else [cell(self.neuron, (self.low + self.high) / 2)]

    def update(self, results: Mapping[RolloutCell, Rows]) -> None:
        for asked, rows in results.items():
            self.seen.append(rows[0]["value"])
            if asked.t < self.target:
                self.low = asked.t
            else:
                self.high = asked.t


def planners() -> list[Bisection]:
    return [Bisection(f"L0.N{i}", 0.13 * (i + 1)) for i in range(5)]


def run(ledger: Ledger, runner: FakeRunner) -> list[Bisection]:
    asked = planners()
    Scheduler(ledger, runner, chunk_rows=6).run("search", asked)
    return asked


def test_planners_share_chunks_of_limited_size():
    with Ledger() as ledger:
        runner = FakeRunner()
        found = run(ledger, runner)
    assert all(p.low < p.target <= p.high for p in found)
    assert all(len(chunk) * len(PROMPTS) <= 6 for chunk in runner.chunks)
    assert any(len({c.neuron for c in chunk}) == 2 for chunk in runner.chunks)
    assert len({c for chunk in runner.chunks for c in chunk}) == sum(map(len, runner.chunks)), "a cell ran twice"


@pytest.mark.parametrize("die_after", range(15))
def test_a_run_that_died_and_went_on_equals_one_that_did_not(tmp_path, die_after):
    with Ledger(tmp_path / "whole" / "ledger.sqlite", create=True) as ledger:
        whole = FakeRunner()
        expected = [p.seen for p in run(ledger, whole)]
    path = tmp_path / "cut" / "ledger.sqlite"
    first = FakeRunner(die_after)
    with Ledger(path, create=True) as ledger, pytest.raises(Killed):
        run(ledger, first)
    second = FakeRunner()
    with Ledger(path) as ledger:
        resumed = [p.seen for p in run(ledger, second)]
    assert resumed == expected
    assert first.chunks + second.chunks == whole.chunks, "a finished chunk was repeated or cut otherwise"


def test_a_finished_run_measures_nothing_again():
    with Ledger() as ledger:
        expected = [p.seen for p in run(ledger, FakeRunner())]
        again = FakeRunner()
        assert [p.seen for p in run(ledger, again)] == expected
        assert again.chunks == []


def test_sampled_and_greedy_cells_never_share_a_chunk():
    class Both:
        done = False

        def next_cells(self) -> list[RolloutCell]:
            return [] if self.done else [cell("L0.N1", 0.1), cell("L0.N1", 0.1, seed=1), cell("L0.N2", 0.1)]

        def update(self, results: Mapping[RolloutCell, Rows]) -> None:
            self.done = True

    runner = FakeRunner()
    with Ledger() as ledger:
        Scheduler(ledger, runner, chunk_rows=100).run("s", [Both()])
    assert sorted(len(chunk) for chunk in runner.chunks) == [1, 2]
    assert all(len({c.sample_seed for c in chunk}) == 1 for chunk in runner.chunks)


def test_two_planners_that_ask_for_one_cell_share_it():
    class One:
        def __init__(self) -> None:
            self.rows: Rows = []

        def next_cells(self) -> list[RolloutCell]:
            return [] if self.rows else [cell("L0.N1", 0.1)]

        def update(self, results: Mapping[RolloutCell, Rows]) -> None:
            self.rows = results[cell("L0.N1", 0.1)]

    runner, asked = FakeRunner(), [One(), One()]
    with Ledger() as ledger:
        Scheduler(ledger, runner).run("s", asked)
    assert len(runner.chunks) == 1
    assert asked[0].rows == asked[1].rows
