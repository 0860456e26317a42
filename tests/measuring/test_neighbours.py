"""Drafts and judgements taken over from the nearest dose change no row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.cells import RolloutCell, Rows
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.rows import RowRollout
from controlwindow.measuring import bench
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.measuring.neighbours import Neighbours, already_judged, whole_rows
from controlwindow.models import Neuron, load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler

ROWS: Rows = [{"prompt": "a", "outcomes": {"8": "refused"}, "text": "no", "token_ids": [3, 4]}]


def commit(ledger: Ledger, cell: RolloutCell, rows: Rows = ROWS, *, sensitive: bool = False) -> None:
    (chunk,) = ledger.plan("stage", [[cell]])
    ledger.commit(chunk, {cell: rows}, sensitive=sensitive)


def dose(t: float, **changes: object) -> RolloutCell:
    return replace(RolloutCell("b", "evaluate", "L1.N2", 1, t, 2 * t, horizon=8), **changes)  # type: ignore[arg-type]


def test_the_nearest_dose_is_a_neighbour() -> None:
    with Ledger() as ledger:
        neighbours = Neighbours(ledger)
        assert neighbours.nearest(dose(1.0), ["a"]) == {"a": []}
        commit(ledger, dose(0.5), [{**ROWS[0], "text": "low"}])
        commit(ledger, dose(0.4), [{**ROWS[0], "text": "low again"}])
        commit(ledger, dose(2.2), [{**ROWS[0], "text": "high", "token_ids": [7]}])
        commit(ledger, dose(1.0, branch=-1))
        commit(ledger, dose(1.0, positions="generated"))
        commit(ledger, dose(1.0, neuron="L1.N3"))
        commit(ledger, dose(1.0, sample_seed=1))
        commit(ledger, dose(1.0, horizon=4))
        commit(ledger, dose(1.0, site="residual"))
        assert neighbours.nearest(dose(1.0), ["a"])["a"][0]["text"] == "low"
        assert [row["text"] for row in neighbours.nearest(dose(1.2), ["a"])["a"]] == ["high", "low"]
        assert neighbours.nearest(dose(1.0, prompts=("a",)), ["a"])["a"][0]["text"] == "low"
        assert neighbours.nearest(dose(1.0, sample_seed=2), ["a"]) == {"a": []}
        assert neighbours.nearest(RolloutCell("b", "evaluate", horizon=8), ["a"]) == {"a": []}


def test_each_prompt_has_its_own_nearest_dose() -> None:
    with Ledger() as ledger:
        commit(ledger, dose(1.0, prompts=("a",)), [{**ROWS[0], "text": "near"}])
        commit(ledger, dose(2.0, prompts=("a", "b")), [{**ROWS[0], "text": "far"}, {**ROWS[0], "prompt": "b"}])
        commit(ledger, dose(9.0, prompts=("c",)), [{**ROWS[0], "prompt": "c"}])
        found = Neighbours(ledger).nearest(dose(1.1), ["a", "b"])
        assert {prompt: row[0]["text"] for prompt, row in found.items()} == {"a": "near", "b": "no"}


def test_another_precision_gives_a_draft_but_no_judgement() -> None:
    with Ledger() as ledger:
        commit(ledger, dose(1.0))
        assert Neighbours(ledger).nearest(dose(1.0, precision="float32"), ["a"]) == {"a": [{"token_ids": [3, 4]}]}


def test_completions_that_are_not_at_hand_give_no_neighbour(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        commit(ledger, dose(1.0), sensitive=True)
        assert Neighbours(ledger).nearest(dose(1.1), ["a"])["a"][0]["token_ids"] == [3, 4]
    (tmp_path / "completions.sqlite").unlink()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert Neighbours(ledger).nearest(dose(1.1), ["a"]) == {"a": []}


@pytest.mark.parametrize(
    ("tokens", "cut", "same"),
    [((3, 4), False, True), ((3, 5), False, False), ((3,), False, False), ((3, 4), True, False)],
)
def test_only_the_very_same_text_is_judged_already(tokens: tuple[int, ...], cut: bool, same: bool) -> None:
    rollout = RowRollout(tokens, (), 0, cut)
    assert (already_judged(rollout, [{"token_ids": [9]}, ROWS[0]]) is ROWS[0]) is same
    assert already_judged(rollout, [{"token_ids": list(tokens)}]) is None
    assert already_judged(rollout, []) is None


def test_rows_are_the_same_with_and_without_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    model, behavior = load_model("organism:switch", device="cpu"), load_behavior("refusal")
    generic = generic_pass(model)
    detector = fit_detector(model, generic, 0)[0]
    prompts = tuple(prompt.id for prompt in behavior.prompts("evaluate")[:8])
    budget = generic.budget(model, Neuron.parse("L3.N80"))
    cells = [
        RolloutCell("refusal", "evaluate", "L3.N80", -1, t, -t * budget, horizon=behavior.horizons[-1], prompts=prompts)
        for t in (0.05, 0.1, 0.3, 0.35, 0.6, 0.8, 3.0, 3.5, 4.5)
    ]
    scored: list[int] = []
    plain_score = bench.token_nll

    def counted(*args: object, **options: object) -> object:
        scored.append(len(args[2]))  # type: ignore[arg-type]
        return plain_score(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "token_nll", counted)

    def rows(cells_at_once: int) -> list[Rows]:
        with Ledger() as ledger:
            engine = Engine(model, {"refusal": behavior}, generic, ledger, detector)
            scheduler = Scheduler(ledger, engine, chunk_rows=cells_at_once * len(prompts))

            class Asked:
                def __init__(self, wanted: list[RolloutCell]) -> None:
                    self.wanted = wanted

                def next_cells(self) -> list[RolloutCell]:
                    return [cell for cell in self.wanted if ledger.rows(cell) is None]

                def update(self, _results: object) -> None: ...

            scheduler.run("undosed", [Asked([RolloutCell("refusal", "evaluate", horizon=behavior.horizons[-1])])])
            scored.clear()
            scheduler.run("doses", [Asked(cells)])
            return [whole_rows(ledger, cell) or [] for cell in cells]

    apart = rows(100)
    alone = sum(scored)
    after_one_another = rows(1)
    # A chunk scores each of its texts once, and so does what comes after it.
    assert sum(scored) <= alone < len(cells) * len(prompts)
    for mine, theirs in zip(after_one_another, apart, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            if not (a["ties"] or b["ties"]):
                assert a.pop("coordinate") == pytest.approx(b.pop("coordinate"), abs=1e-4)
                assert a.pop("coherence") == pytest.approx(b.pop("coherence"), abs=2e-4)
                assert a == b
    assert len({row["text"] for found in apart for row in found}) > 20
