"""A small validation of the organism: the ledger proves the order, and does not where anything was tampered with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from small_plan import SIZES, organism_plan, small_behavior

from controlwindow.errors import LedgerError
from controlwindow.jobs.law import runner
from controlwindow.jobs.law.document import HEADLINES, rescore
from controlwindow.jobs.law.order import prove_order
from controlwindow.jobs.law.session import ledger_path
from controlwindow.runs.ledger import Ledger


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = small_behavior(tmp_path_factory.mktemp("behavior"))
    return organism_plan({"language": str(path)})


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    """The run directory and its document."""
    out = tmp_path_factory.mktemp("law")
    document = runner.run_law(plan, out)
    chunks = _chunks(plan, out)
    assert runner.run_law(plan, out) == document
    assert _chunks(plan, out) == chunks, "a finished run measures nothing again"
    return out, document


def _chunks(plan, out) -> int:
    with Ledger(ledger_path(out, plan.models[0])) as ledger:
        return ledger.chunks_done()


def test_every_forecast_stands_before_the_first_rollout_of_its_neuron(plan, finished):
    out, document = finished
    assert document["order"] == {"proved": True, "problems": [], "forecasts": 6, "models": 1}
    # Told again from the raw tables, without the package.
    with sqlite3.connect(ledger_path(out, plan.models[0])) as connection:
        forecasts = connection.execute("SELECT name, sequence FROM event WHERE kind = 'forecast'").fetchall()
        cells = connection.execute("SELECT key, chunk FROM cell WHERE key LIKE '%RolloutCell%'").fetchall()
        evidence, fit = (
            connection.execute("SELECT min(sequence) FROM event WHERE kind = ?", (kind,)).fetchone()[0]
            for kind in ("calibration", "fit")
        )
    first: dict[str, int] = {}
    for key, chunk in cells:
        neuron = json.loads(key)[1]["neuron"]
        first[neuron] = min(first.get(neuron, chunk), chunk)
    assert evidence < fit
    held = {name.split("/")[1] for name, _ in forecasts}
    assert all(fit < sequence < first[name.split("/")[1]] for name, sequence in forecasts)
    calibration = set(first) - held - {None}
    assert len(calibration) == 2
    assert all(first[neuron] < evidence for neuron in calibration)


def test_the_document_gives_its_numbers_again(finished):
    _, document = finished
    document = json.loads(json.dumps(document))
    assert set(HEADLINES) <= set(document)
    assert json.loads(json.dumps(rescore(document))) == document["scores"]
    assert document["held_out_neurons"] == 3
    assert document["scores"]["failure_modes"]["measured"]["n"] == 1
    assert document["scores"]["detector"]["agreement"] > 0.8
    kinds = document["scores"]["detector"]["kinds"]
    assert {"greedy", "sampled", "truncated", "switched", "shuffled", "looping", "word_salad", "mixed"} <= set(kinds)


def test_prompts_of_the_two_roles_are_disjoint(plan, finished):
    out, _ = finished
    with sqlite3.connect(ledger_path(out, plan.models[0])) as connection:
        stages = connection.execute(
            "SELECT name, payload FROM event WHERE kind = 'chunk' "
            "AND (name LIKE 'calibration%' OR name LIKE 'held_out%')"
        ).fetchall()
    used: dict[str, set[str]] = {"calibration": set(), "held_out": set()}
    for name, payload in stages:
        for key in json.loads(payload):
            used[name.split(" ")[0]] |= set(json.loads(key)[1]["prompts"])
    assert used["calibration"]
    assert used["held_out"]
    assert not used["calibration"] & used["held_out"]


@pytest.mark.slow
def test_details_say_what_thresholds_depend_on(plan, tmp_path):
    sizes = SIZES.model_copy(update={"detailed": 1})
    detailed = plan.model_copy(update={"sizes": sizes})
    document = runner.run_law(detailed, tmp_path)
    details = document["models"]["organism:switch"]["details"]
    assert len(details) == 4, "a random and a planted neuron, both branches"
    for detail in details:
        assert detail["by_severity"]["1.0"] == pytest.approx(detail["as_planned"]["ceiling"], abs=0.06)
        ceilings = [1.0 if c is None else c for c in detail["by_severity"].values()]
        assert ceilings == sorted(ceilings), "laxer thresholds never lower a ceiling"
        assert detail["longer"]["horizon"] == 32
        assert detail["positions"]["dosed"] == "generated"
    assert len(document["scores"]["sensitivity"]["generic_text"]["organism:switch"]) == 4


TAMPERINGS = {
    "a forecast that was improved afterwards": (
        "UPDATE event SET payload = json_set(payload, '$.known.ceiling[0]', 0.5) WHERE kind = 'forecast'",
        "not what the fit predicts",
    ),
    "a forecast that was written after the rollouts": (
        "UPDATE event SET sequence = sequence + 100000 WHERE kind = 'forecast' AND name = "
        "(SELECT min(name) FROM event WHERE kind = 'forecast')",
        "rolled out before it was predicted",
    ),
    "a forecast that was dropped": (
        "DELETE FROM event WHERE kind = 'forecast' AND name = (SELECT min(name) FROM event WHERE kind = 'forecast')",
        "measured without a forecast",
    ),
    "a calibration that was changed after the fit": (
        "UPDATE event SET payload = json_set(payload, '$.pairs[0].ceiling', 0.3) WHERE kind = 'calibration'",
        "not what was measured",
    ),
    "a fit of something else": (
        "UPDATE event SET payload = json_set(payload, '$.constant.value', 0.1) WHERE kind = 'fit'",
        "not the one that its hash stands for",
    ),
    "a fit that came first": (
        "UPDATE event SET sequence = 0 WHERE kind = 'fit' AND name = 'known'",
        "before the calibration",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_does_not_pass(plan, finished, tmp_path, name):
    statement, problem = TAMPERINGS[name]
    shutil.copytree(finished[0], tmp_path / "copy")
    with sqlite3.connect(ledger_path(tmp_path / "copy", plan.models[0])) as connection:
        assert connection.execute(statement).rowcount
    proof = prove_order(plan, tmp_path / "copy")
    assert not proof.proved
    assert any(problem in said for said in proof.problems), proof.problems


def test_another_plan_is_not_gone_on_with(plan, finished):
    out: Path = finished[0]
    other = plan.model_copy(update={"sizes": SIZES.model_copy(update={"held_out": 5})})
    with pytest.raises(LedgerError, match="another law: it differs in sizes"):
        runner.run_law(other, out)
