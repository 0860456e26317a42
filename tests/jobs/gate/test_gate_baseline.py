"""What opened, closed and moved: paired over prompts, corrected over all that was compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controlwindow.cells import RolloutCell
from controlwindow.jobs.gate.baseline import changes, corrected, side
from controlwindow.jobs.gate.evidence import read_evidence
from controlwindow.runs.ledger import Ledger

PROMPTS = tuple(f"p{i}" for i in range(12))
DOSES = (0.1, 0.2, 0.4, 0.8)
TARGETS = frozenset({"bypass"})


def record(neuron: str, shares: tuple[float, ...], directory: Path, prompts=PROMPTS) -> dict:
    """A window whose share of flips at each dose is given, with the ledger that measured it."""
    reached = [c for c, share in zip(DOSES, shares, strict=True) if share >= 0.5]
    with Ledger(directory / "ledger.sqlite", create=not (directory / "ledger.sqlite").exists()) as ledger:
        blocks = []
        for t, share in zip(DOSES, shares, strict=True):
            cell = RolloutCell("b", "evaluate", neuron=neuron, t=t, alpha=t, horizon=8, prompts=prompts)
            flips = round(share * len(prompts))
            rows = [
                {"prompt": prompt, "outcomes": {"8": "bypass" if place < flips else "refused"}}
                for place, prompt in enumerate(prompts)
            ]
            blocks.append((cell, rows))
        (chunk,) = ledger.plan(f"windows {neuron}", [[cell for cell, _ in blocks]])
        ledger.commit(chunk, dict(blocks))
    return {
        "neuron": neuron, "behavior": "b", "branch": 1, "n_eligible": len(prompts), "c0": 0.0,
        "verdict": "open" if reached else "closed", "trigger": reached[0] if reached else None,
        "doses": [{"t": t, "c": t} for t in (0.0, *DOSES)],
    }  # fmt: skip


LOW, HIGH = (0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 1.0, 1.0)
LATE = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def compared(tmp_path):
    def run(before: dict, now: dict, prompts=PROMPTS):
        sides = []
        for name, found, ids in (("before", before, PROMPTS), ("now", now, prompts)):
            directory = tmp_path / name
            directory.mkdir()
            windows = [record(neuron, shares, directory, ids) for neuron, shares in found.items()]
            sides.append(side([(directory, windows)]))
        return corrected(changes("b", *sides, TARGETS, 0.5, 0))

    return run


def test_opened_closed_moved_and_same(compared):
    before = {"L0.N1": LOW, "L0.N2": HIGH, "L0.N3": HIGH, "L0.N4": HIGH, "L0.N5": LOW, "L0.N6": LATE}
    now = {"L0.N1": HIGH, "L0.N2": LOW, "L0.N3": LATE, "L0.N4": HIGH, "L0.N5": LOW, "L0.N6": HIGH}
    found = {change["neuron"]: change for change in compared(before, now)}
    assert {name: change["change"] for name, change in found.items()} == {
        "L0.N1": "opened", "L0.N2": "closed", "L0.N3": "moved", "L0.N4": "same", "L0.N5": "same", "L0.N6": "moved",
    }  # fmt: skip
    assert all(change["comparisons"] == 6 and change["n"] == 12 for change in found.values())
    opened, moved = found["L0.N1"], found["L0.N3"]
    assert (opened["height_before"], opened["height_now"], opened["height_interval"]) == (0.0, 1.0, [1.0, 1.0])
    # Sign flips of 12 equal differences: 2 of 4,096; the smallest of six p is taken six times.
    assert opened["p"] == 2 / 4096
    assert moved["trigger_difference"] == pytest.approx(0.6)
    assert found["L0.N6"]["trigger_difference"] == pytest.approx(-0.6)
    # All prompts flip together: every replicate moves by as much, halfway between the doses of a bracket.
    assert moved["trigger_interval"] == pytest.approx([0.45, 0.45])


def test_a_difference_that_chance_gives_is_unclear(compared):
    (found,) = compared({"L0.N1": (0.0, 0.4, 0.4, 0.4)}, {"L0.N1": (0.0, 0.5, 0.5, 0.5)})
    assert (found["was"], found["now"], found["change"]) == ("closed", "open", "unclear")


def test_only_prompts_that_both_have_are_compared_and_too_few_are_none(compared):
    assert compared({"L0.N1": LOW}, {"L0.N1": HIGH}, (*PROMPTS[:9], "q1", "q2"))[0]["n"] == 9
    assert corrected([]) == []


def test_too_few_shared_prompts_are_not_compared(compared):
    assert compared({"L0.N1": LOW}, {"L0.N1": HIGH}, (*PROMPTS[:7], "q1", "q2")) == []


def test_the_correction_is_over_all_comparisons():
    same = {"was": "closed", "now": "closed", "p": 1.0}
    opened = {"was": "closed", "now": "open", "p": 2 / 4096}
    found = corrected([opened, *[same] * 119])
    assert found[0]["p_holm"] == pytest.approx(120 * 2 / 4096)
    assert found[0]["change"] == "unclear", "one of 120 is not enough on twelve prompts"
    assert corrected([opened, *[same] * 89])[0]["change"] == "opened"


def test_evidence_has_the_doses_that_all_prompts_tried_and_no_others(tmp_path):
    window = record("L0.N1", HIGH, tmp_path)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        scouts = RolloutCell("b", "evaluate", neuron="L0.N1", t=0.3, alpha=0.3, horizon=8, prompts=PROMPTS[:3])
        rows = [{"prompt": prompt, "outcomes": {"8": "bypass"}} for prompt in PROMPTS[:3]]
        (chunk,) = ledger.plan("scouts", [[scouts]])
        ledger.commit(chunk, {scouts: rows})
        found = read_evidence(ledger, window, TARGETS)
        assert found is not None
        assert found.coordinates.tolist() == [0.0, *DOSES]
        assert found.flips.mean(1).tolist() == [0.0, *HIGH]
        assert found.height == 2
        assert np.array_equal(found.at(("p3", "p0")), found.flips[:, :2])
        assert read_evidence(ledger, {**window, "branch": -1}, TARGETS) is None
