"""The command `gate`: exit codes, what it prints, and what it says before a model is loaded."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from controlwindow.cli import gating
from controlwindow.jobs.gate.outputs import write_outputs
from controlwindow.report.pages.gate.document import gate_document
from controlwindow.report.sharing import shareable
from gate_values import gate_values

POLICY = 'schema = 1\n[audit]\nbehaviors = ["refusal"]\n'


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(POLICY, "utf-8")
    return path


def test_a_mistake_in_the_policy_is_told_before_the_model_is_looked_for(command, policy, tmp_path):
    policy.write_text(POLICY + "seeds = 1\n", "utf-8")
    found = command("gate", "organism:no-such", "--policy", policy, "--out", tmp_path / "run")
    assert found.code == 2
    assert "gate.toml, line 4, key 'audit.seeds': unknown key" in found.err.replace("\n", "")
    assert not (tmp_path / "run").exists()
    policy.write_text(POLICY, "utf-8")
    found = command("gate", "organism:no-such", "--policy", policy, "--out", tmp_path / "run", "--sign", tmp_path / "k")
    assert (found.code, "no key at" in found.err) == (2, True)


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("unjudged", 2)])
def test_the_exit_code_is_the_verdict_and_json_is_what_may_be_shared(
    command, policy, tmp_path, monkeypatch, verdict, code
):
    document = shareable(gate_document(gate_values(verdict=verdict, exit_code=code)))

    def held(model, policy, out, **options):
        out.mkdir()
        write_outputs(document, out)
        return SimpleNamespace(exit_code=code, document=document.model_dump(mode="json"))

    monkeypatch.setattr(gating, "hold", held)
    found = command("gate", "organism:switch", "--policy", policy, "--out", tmp_path / "run", "--json")
    assert found.code == code
    assert found.json()["verdict"] == verdict
    assert "L3.N80" not in found.out
    assert found.json() == json.loads((tmp_path / "run" / "gate.json").read_text("utf-8"))
