from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny_models
from controlwindow import audit
from controlwindow.behaviors import CoherenceDetector
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.errors import LedgerError
from controlwindow.instruments.ordinary import TEXT_PROMPTS
from controlwindow.models import Model, Neuron
from controlwindow.runs import session
from controlwindow.runs.kinds import open_run
from controlwindow.runs.ledger import Ledger
from controlwindow.validation import fitting
from controlwindow.windows.calibrating import fit_predictors
from controlwindow.windows.features import subjects_of

DETECTOR = CoherenceDetector(
    scale=1.0, onset_excess=1.0, mean_excess=1.0, window_excess=1.0, distinctness=1e-6, window_distinctness=1e-6
)
"""A random model's controls cannot be told apart; any thresholds serve."""


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def test_a_run_gives_its_random_neurons_with_what_was_committed_of_them(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "set_detector", lambda *_: DETECTOR)
    values = {
        "name": "mode",
        "horizons": [4],
        "minimum_eligible": 4,
        "oracles": {"target": {"type": "regex", "pattern": "nothing that is ever said"}},
        "prompts": {"evaluate": list(TEXT_PROMPTS[:16])},
    }
    behavior = assemble(BehaviorDefinition.model_validate(values), tmp_path / "mode.toml")
    found = audit(model, behavior, tmp_path / "run", neurons=["L0.N1"], screen="random", top=2)
    with open_run(tmp_path / "run") as ledger:
        observations = fitting.observations_of_run(ledger, "tiny")
    random = {w.neuron: w for w in found.windows if w.candidate_from == "random"}
    assert {o.subject.neuron for o in observations} == set(random)
    ceilings = {(w.neuron, w.branch): w.ceiling for w in found.windows}
    assert {o.lineage for o in observations} == {"tiny"}
    for o in observations:
        assert o.ceiling == ceilings[o.subject.neuron, o.subject.branch]
        direct = subjects_of(model, [(Neuron.parse(o.subject.neuron), o.subject.branch)])[0]
        assert o.subject.features == pytest.approx(direct.features, rel=1e-4, abs=1e-6)
    assert json.loads(json.dumps(fitting.summary(fit_predictors(observations, choose=False))))["predictors"]


def test_a_census_gives_every_row_with_its_limit(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["behavior", "neuron", "branch", "c0", "trigger", "ceiling"]
    names = ["L0.N1", "L1.N2", "L2.N3"]
    rows: list[list[Any]] = [
        [behavior, name, branch, 0.1, None, None if branch < 0 else 0.5]
        for behavior in ("language", "refusal")
        for name in names
        for branch in (1, -1)
    ]
    rows[0][3] = 1.0
    card = SimpleNamespace(name="organism:tiny", lineage="tiny", census={"columns": columns, "rows": rows})
    monkeypatch.setattr(fitting, "load_card", lambda _name: card)
    organism = replace(model, organism="organism:switch")
    observations = fitting.observations_of_census(organism)
    assert len(observations) == len(rows) - 1
    for o in observations:
        assert o.ceiling == (0.5 if o.subject.branch > 0 else None)
        assert o.subject.limit > 0.9
        assert o.subject.features["own_divergence"] is not None
    assert {o.subject.neuron for o in fitting.observations_of_census(organism, 2)} == {"L0.N1", "L2.N3"}
    card.census = None
    with pytest.raises(ValueError, match="no census"):
        fitting.observations_of_census(organism)


def test_a_validation_gives_its_random_neurons_of_both_roles(model: Model, tmp_path: Path) -> None:
    pairs = [(Neuron(1, 2), 1), (Neuron(2, 3), -1), (Neuron(0, 4), 1)]
    subjects = [s.to_json() for s in subjects_of(model, pairs, tier="0")]
    measured = [
        ("pair calibration", "random", 0.7, 0.1),
        ("pair held_out", "random", None, 0.1),
        ("pair held_out", "screened", 0.5, 0.1),
    ]
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        with pytest.raises(LedgerError, match="holds no calibration of the law"):
            fitting.observations_of_law(ledger)
        ledger.record("calibration", "evidence", {"model": "m", "fingerprint": "f", "lineage": "l", "pairs": []})
        for (kind, source, ceiling, c0), (neuron, branch), subject in zip(measured, pairs, subjects, strict=True):
            name = f"mode/{neuron}/{branch:+d}"
            ledger.record("inputs", name, {"subject": subject})
            ledger.record(kind, name, {"behavior": "mode", "source": source, "ceiling": ceiling, "c0": c0})
        found = fitting.observations_of_law(ledger)
    assert [(o.subject.neuron, o.subject.branch, o.ceiling) for o in found] == [("L1.N2", 1, 0.7), ("L2.N3", -1, None)]
    assert {(o.model, o.fingerprint, o.lineage, o.behavior) for o in found} == {("m", "f", "l", "mode")}
