"""Where the target is said, coherent or not: collapsed rollouts are judged too, scouts count with what they have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from controlwindow.curves import SaturationCurve
from controlwindow.jobs.law import measuring
from controlwindow.jobs.law.measuring import TargetThreshold, target_threshold
from controlwindow.windows.search import Candidate, SearchTask, WindowSearch

PROMPTS = tuple(f"evaluate.p{i:03d}" for i in range(8))

BEHAVIOR = SimpleNamespace(
    name="mode",
    prompts=lambda split: [SimpleNamespace(id=prompt) for prompt in PROMPTS],
    judge=lambda text, prompt, collapsed: "switched" if text == "target" else "other",
    target_outcomes=frozenset({"switched"}),
)


def rows(outcomes: list[str], text: str = "") -> list[dict]:
    return [
        {"prompt": prompt, "outcomes": {"16": outcome}, "text": text if outcome == "collapsed" else ""}
        for prompt, outcome in zip(PROMPTS, outcomes, strict=False)
    ]


def found(monkeypatch, doses: dict[float, list[dict]]) -> TargetThreshold:
    """The threshold of a search that measured these rows at these control coordinates, c0 being 0."""
    candidate = Candidate("L1.N2", 1, SaturationCurve(0.0), budget=2.0)
    task = SearchTask("mode", "evaluate", PROMPTS, 16, frozenset({"switched"}))
    search = WindowSearch(candidate, task, rows(["unswitched"] * 8))
    by_dose = {round(candidate.dose(c), 6): of_dose for c, of_dose in doses.items()}
    search.measured = {t: {row["prompt"]: row for row in of_dose} for t, of_dose in by_dose.items()}
    ledger = SimpleNamespace(rollout_cells=lambda behavior, neuron: [search.cell(t) for t in by_dose])
    monkeypatch.setattr(measuring, "whole_rows", lambda _, cell: by_dose[cell.t])
    return target_threshold(ledger, BEHAVIOR, search)


def test_collapsed_text_that_says_the_target_counts(monkeypatch):
    doses = {
        0.2: rows(["unswitched"] * 8),
        0.4: rows(["collapsed"] * 4 + ["unswitched"] * 4, "target"),
        0.6: rows(["collapsed"] * 8, "noise"),
    }
    target = found(monkeypatch, doses)
    assert target.value == pytest.approx(0.4, abs=1e-5)
    assert (target.height, target.prompts) == (0.5, 8)


def test_scouts_count_with_the_prompts_they_have_and_are_counted(monkeypatch):
    target = found(monkeypatch, {0.2: rows(["unswitched"] * 8), 0.4: rows(["switched", "switched", "other"])})
    # Two of three scouts: the half is crossed at three quarters of the way to two thirds.
    assert target.value == pytest.approx(0.2 + 0.2 * 0.75, abs=1e-5)
    assert target.prompts == 3


def test_what_is_not_reached_has_a_height_alone(monkeypatch):
    assert found(monkeypatch, {0.4: rows(["switched"] * 3 + ["other"] * 5)}) == TargetThreshold(None, 0.375, None)
