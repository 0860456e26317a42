"""A run that is killed at any of its points and gone on with leaves what one that was not cut off leaves."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from controlwindow.cells import RolloutCell
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.manifest import write_json
from controlwindow.runs.scheduler import Scheduler
from golden.behaviors import write_behaviors
from golden.runs import command_lines
from torture.children import run_child
from torture.kills import POINTS, Kill, Killer, Tally, kill_and_go_on, passing, whole_run

PROMPTS = ("a", "b", "c")


class Bisection:
    """Halves an interval, guided by the rows."""

    def __init__(self, behavior: str, neuron: str, target: float) -> None:
        self.behavior, self.neuron, self.target = behavior, neuron, target
        self.low, self.high = 0.0, 1.0

    def next_cells(self) -> list[RolloutCell]:
        middle = (self.low + self.high) / 2
        if self.high - self.low < 0.1:
            return []
        return [RolloutCell(self.behavior, "evaluate", self.neuron, 1, middle, middle, "all", 8, PROMPTS)]

    def update(self, results) -> None:
        for asked, rows in results.items():
            assert rows[0]["seen"] > 0
            self.low, self.high = (asked.t, self.high) if asked.t < self.target else (self.low, asked.t)


class Runner:
    """Rows that depend on which cells share a chunk, as rounding does on a real machine."""

    def rows_in(self, cell) -> int:
        return len(cell.prompts)

    def is_sensitive(self, cell) -> bool:
        return cell.behavior == "vaults"

    def run(self, cells):
        company = sum(cell.t for cell in cells)
        return {c: [{"seen": company + c.t, "text": f"{p} at {c.t}"} for p in c.prompts] for c in cells}


def small_run(directory: Path):
    """What a job does: a plan, rounds of chunks, records, and a file at the end."""

    def work() -> None:
        with Ledger(directory / "ledger.sqlite", create=True) as ledger:
            ledger.lock()
            ledger.remember("plan", "audit", lambda: {"seed": 1})
            planners = [Bisection(b, f"L0.N{i}", 0.3 * (i + 1)) for b in ("switching", "vaults") for i in range(2)]
            Scheduler(ledger, Runner(), chunk_rows=6).run("search", planners)
            for planner in planners:
                name = f"{planner.behavior}/{planner.neuron}"
                ledger.remember("window", name, lambda planner=planner: [planner.low, planner.high])
            ledger.remember("finished", "audit", dict)
            write_json({"windows": ledger.find_all("window")}, directory / "manifest.json")

    return work


def left(directory: Path) -> dict[str, list[str] | str]:
    """All that a run left, its ledgers as text."""
    found: dict[str, list[str] | str] = {"manifest": (directory / "manifest.json").read_text()}
    for name in ("ledger.sqlite", "completions.sqlite"):
        with closing(sqlite3.connect(directory / name)) as connection:
            found[name] = list(connection.iterdump())
    assert not list(directory.glob("*.part"))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "run"
    tally = directory.with_suffix(".tally")
    assert run_child(passing(small_run(directory), Tally(tally)), limit=60).code == 0
    return left(directory), tally.read_text().split()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_every_point_changes_nothing(whole, tmp_path, point, after):
    expected, passed = whole
    assert passed.count(point)
    for number in range(1, passed.count(point) + 1):
        directory = tmp_path / str(number)
        killer = Killer(Kill(None, point, number, after))
        assert run_child(passing(small_run(directory), killer), limit=60).code == -signal.SIGKILL
        assert run_child(small_run(directory), limit=60).code == 0
        assert left(directory) == expected, f"killed {'after' if after else 'before'} {point} {number}"


@pytest.mark.slow
@pytest.mark.parametrize("kill", [Kill(seconds=2.0), Kill(None, "plan", 3, True), Kill(None, "commit", 5, False)])
def test_a_census_that_was_killed_gives_equal_results(tmp_path, kill):
    words = command_lines(*write_behaviors(tmp_path))["census"]
    census = whole_run("census", words, tmp_path / "whole")
    assert json.loads(census.out)
    assert kill_and_go_on(census, kill, tmp_path / "killed") is None
