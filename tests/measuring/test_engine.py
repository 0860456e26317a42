"""The engine: cut rows are judged as whole ones, memory that runs out leaves a mark, and precisions stay apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.behaviors.text import whole_words
from controlwindow.cells import Cell, PropagationCell, RolloutCell
from controlwindow.errors import DeviceMemoryError
from controlwindow.instruments.generic import generic_pass
from controlwindow.measuring import bench
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.measuring.handlers import propagation, rollouts
from controlwindow.measuring.handlers.rollouts import RolloutHandler
from controlwindow.models import Neuron, load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler

DOSES = (0.6, 1.6, 2.4, 4.5)


@pytest.fixture(scope="module")
def organism():
    return load_model("organism:switch", device="cpu")


@pytest.fixture(scope="module")
def detector(organism):
    return fit_detector(organism, generic_pass(organism), 0)[0]


@pytest.fixture(scope="module")
def behaviors():
    return {"refusal": load_behavior("refusal")}


def cells(organism, behaviors, prompts: int = 6) -> list[RolloutCell]:
    behavior = behaviors["refusal"]
    chosen = tuple(prompt.id for prompt in behavior.prompts("evaluate")[:prompts])
    generic = generic_pass(organism)
    found = []
    for name in ("L3.N80", "L5.N12"):
        for t in DOSES:
            alpha = t * generic.budget(organism, Neuron.parse(name))
            found.append(
                RolloutCell("refusal", "evaluate", name, 1, t, alpha, horizon=behavior.horizons[-1], prompts=chosen)
            )
    return found


def undosed_cell(behaviors) -> RolloutCell:
    return RolloutCell("refusal", "evaluate", horizon=behaviors["refusal"].horizons[-1])


def measured(engine: Engine, asked: list[RolloutCell]) -> dict[Cell, list]:
    """Rows of the asked cells, after the undosed ones are in the ledger."""
    undosed = undosed_cell(engine.behaviors)
    if engine.ledger.rows(undosed) is None:
        (chunk,) = engine.ledger.plan("undosed", [[undosed]])
        engine.ledger.commit(chunk, engine.run([undosed]), sensitive=True)
    return engine.run(asked)


def test_rows_that_are_cut_have_the_outcomes_of_whole_ones(organism, detector, behaviors, monkeypatch):
    asked = cells(organism, behaviors)
    with Ledger() as ledger:
        cut = measured(Engine(organism, behaviors, generic_pass(organism), ledger, detector), asked)
        whole_engine = Engine(organism, behaviors, generic_pass(organism), ledger, detector)
        monkeypatch.setattr(RolloutHandler, "_collapse_limits", lambda _handler, cell, _prompt: {cell.horizon: -1})
        whole = measured(whole_engine, asked)
    shortened = 0
    for cell in asked:
        for mine, theirs in zip(cut[cell], whole[cell], strict=True):
            assert "cut" not in theirs
            assert mine["outcomes"] == theirs["outcomes"]
            assert mine["token_ids"] == theirs["token_ids"][: len(mine["token_ids"])]
            if "cut" in mine:
                assert mine["cut"] is True
                assert mine["outcomes"][str(cell.horizon)] == "collapsed"
                shortened += len(theirs["token_ids"]) - len(mine["token_ids"])
            else:
                assert mine["token_ids"] == theirs["token_ids"]
    assert shortened > 0, "no dose looped: the test has nothing to say"


def test_undosed_rows_are_never_cut(organism, detector, behaviors):
    with Ledger() as ledger:
        engine = Engine(organism, behaviors, generic_pass(organism), ledger, detector)
        rows = engine.run([undosed_cell(behaviors)])[undosed_cell(behaviors)]
    assert not any("cut" in row for row in rows)


def test_memory_that_runs_out_halves_the_batch_and_leaves_a_mark(organism, detector, behaviors, tmp_path, monkeypatch):
    asked = cells(organism, behaviors, 3)[:2]
    with Ledger() as ledger:
        expected = measured(Engine(organism, behaviors, generic_pass(organism), ledger, detector), asked)
    sizes: list[int] = []
    real = rollouts.roll_out_rows

    def small(*args, batch_rows, **options):
        sizes.append(batch_rows)
        if batch_rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, batch_rows=batch_rows, **options)

    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        engine = Engine(organism, behaviors, generic_pass(organism), ledger, detector)
        measured(engine, [])
        monkeypatch.setattr(rollouts, "roll_out_rows", small)
        found = engine.run(asked)
        assert sizes == [6, 3, 1]
        assert ledger.find_all("memory") == {
            "rollouts, 3 rows": {"work": "rollouts", "rows": 3},
            "rollouts, 1 rows": {"work": "rollouts", "rows": 1},
        }
    outcomes = [[row["outcomes"] for row in found[cell]] for cell in asked]
    assert outcomes == [[row["outcomes"] for row in expected[cell]] for cell in asked]
    sizes.clear()
    with Ledger(path) as ledger:
        Engine(organism, behaviors, generic_pass(organism), ledger, detector).run(asked)
    assert sizes == [1], "a run gone on with keeps to what fitted"


def test_propagation_does_not_depend_on_its_batches(organism, detector, behaviors, monkeypatch):
    dosed = cells(organism, behaviors, 7)[0]
    cell = PropagationCell("refusal", "evaluate", dosed.neuron, 1, dosed.t, dosed.alpha, "all", dosed.prompts)
    values = []
    for rows in (64, 3):
        monkeypatch.setattr(propagation, "_ROWS", rows)
        with Ledger() as ledger:
            engine = Engine(organism, behaviors, generic_pass(organism), ledger, detector)
            measured(engine, [])
            values.append(engine.run([cell])[cell][0]["propagation"])
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    assert 0 < values[0] < 1


def test_a_float32_copy_that_does_not_fit_is_an_error_with_the_repair(organism, detector, behaviors, monkeypatch):
    def full(model):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench, "float32_copy", full)
    with Ledger() as ledger:
        engine = Engine(organism, behaviors, generic_pass(organism), ledger, detector)
        with pytest.raises(DeviceMemoryError, match="float32 copy of organism:switch"):
            engine.run([replace(undosed_cell(behaviors), precision="float32")])


def test_float32_cells_run_on_a_float32_copy_and_share_no_chunk_with_others(behaviors):
    half = load_model("organism:switch", device="cpu", dtype="bfloat16")
    generic = generic_pass(half)
    detector = fit_detector(half, generic, 0)[0]
    before = half.fingerprint
    asked = cells(half, behaviors, 2)[:1]
    exact = [replace(cell, precision="float32") for cell in asked]
    with Ledger() as ledger:
        engine = Engine(half, behaviors, generic, ledger, detector)
        measured(engine, [])
        scheduler = Scheduler(ledger, engine)
        chunks = scheduler._chunks([*asked, *exact])
        assert [[cell.precision for cell in chunk] for chunk in chunks] in (
            [["model"], ["float32"]],
            [["float32"], ["model"]],
        )
        found = engine.run(exact)[exact[0]]
        copy = engine.in_precision("float32")
        assert copy.dtype == torch.float32
        assert engine.in_precision("float32") is copy
        engine.release_float32()
        assert engine.in_precision("float32") is not copy
    assert half.dtype == torch.bfloat16
    assert type(half)(**{f: getattr(half, f) for f in half.__dataclass_fields__}).fingerprint == before
    # The same weights loaded in float32 after rounding to bfloat16 give the same tokens.
    rounded = load_model("organism:switch", device="cpu")
    with torch.no_grad():
        for parameter in rounded.hf_model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    with Ledger() as ledger:
        other = Engine(rounded, behaviors, generic, ledger, detector)
        measured(other, [])
        reference = other.run(asked)[asked[0]]
    assert [row["token_ids"] for row in found] == [row["token_ids"] for row in reference]


def test_oracles_learn_how_the_words_at_a_horizon_go_on(organism, detector, behaviors, monkeypatch):
    """At every horizon they are given the text so far, and what of it is whole words by all that was generated."""
    seen = []

    def judge_many(self, requests, known=None):
        seen.append(requests)
        return ["refused"] * len(requests)

    monkeypatch.setattr(Behavior, "judge_many", judge_many)
    short = {"refusal": replace(behaviors["refusal"], all_prompts=behaviors["refusal"].prompts("evaluate")[:4])}
    with Ledger() as ledger:
        engine = Engine(organism, short, generic_pass(organism), ledger, detector)
        cell = RolloutCell("refusal", "evaluate", horizon=12)
        rows = {row["prompt"]: row for row in engine.run([cell])[cell]}
    # All of a chunk at once.
    (requests,) = seen
    assert len(requests) == 2 * len(rows) == 8
    for request in requests:
        row = rows[request.prompt.id]
        ids = row["token_ids"]
        assert ids[-1] not in organism.stop_ids
        assert request.answer.text in (organism.decode(ids[:8]), organism.decode(ids[:12]))
        assert request.answer.words == whole_words(request.answer.text, row["text"], ended=False)
        assert row["outcomes"] == {"8": "refused", "12": "refused"}
