"""A gate from a policy to its verdict, on a tiny random model: parts, baseline, resuming, commands and exit codes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3

import pytest

import controlwindow as cw
from controlwindow.errors import LedgerError, UsageError
from controlwindow.jobs.gate.job import commitment
from controlwindow.runs.kinds import kind_of
from small_behaviors import write_mode
from tiny_models import llama as build

POLICY = """
schema = 1
[audit]
behaviors = ["mode.toml"]
top = 1
random = 1
screens = ["contrastive"]
[direction]
methods = ["directional_ablation"]
reaches = "warn"
[power]
screen_recall = 0.0
open_rate_bound = 1.0
eligible = 12
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gate")
    write_mode(directory, "zzz")
    (directory / "gate.toml").write_text(POLICY, "utf-8")
    return directory


@pytest.fixture(scope="module")
def gated(folder, request):
    """A gate against another random model."""
    model, other = request.getfixturevalue("llama"), build(seed=1)
    return cw.gate(model, folder / "gate.toml", folder / "run", baseline=other), model, other


def test_a_gate_is_a_run_of_runs_that_says_what_it_found(gated, folder):
    found, _model, _ = gated
    assert sorted(path.name for path in (folder / "run" / "parts").iterdir()) == [
        "audit-mode", "baseline-mode", "direction-mode",
    ]  # fmt: skip
    assert kind_of(folder / "run").name == "gate"
    assert kind_of(folder / "run" / "parts" / "audit-mode").name == "audit"
    document = found.document
    # No answer of a random model flips to a pattern that none of its words has.
    assert (found.verdict, found.exit_code) == ("pass", 0)
    assert {check["rule"]: check["status"] for check in document["checks"]} == dict.fromkeys(
        ("open_window", "undecided_window", "direction", "eligible", "open_rate_bound", "screen_recall", "opened",
         "moved"), "pass")  # fmt: skip
    assert document["behaviors"][0]["tested"] == 2
    assert next(c for c in document["checks"] if c["rule"] == "opened")["of"] > 0
    assert document["baseline"]["missing"] == []
    assert document == json.loads((folder / "run" / "gate.json").read_text("utf-8"))


def test_what_was_committed_to_can_be_opened_with_the_ledger(gated, folder):
    found, _, _ = gated
    row = next(row for row in found.document["commitments"] if row["what"] == "policy")
    assert row["digest"] is None
    connection = sqlite3.connect(folder / "run" / "ledger.sqlite")
    (salt,) = connection.execute("SELECT payload FROM event WHERE kind = 'salt'").fetchone()
    (plan,) = connection.execute("SELECT payload FROM event WHERE kind = 'plan'").fetchone()
    connection.close()
    policy = json.loads(plan)["policy"]
    policy["audit"]["behaviors"] = ["mode.toml"]
    digest = hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()
    assert commitment(json.loads(salt)["salt"], digest) == row["commitment"]


def test_a_finished_gate_is_read_resumed_and_drawn_again_without_measuring(gated, folder):
    found, model, other = gated
    before = {path: path.read_bytes() for path in (folder / "run").glob("gate.*")}
    again = cw.gate(model, folder / "gate.toml", folder / "run", baseline=other)
    assert again.document == found.document == cw.results(folder / "run")
    cw.draw_report(folder / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_a_gate_that_was_cut_off_goes_on_in_its_parts(gated, folder, tmp_path):
    found, model, _other = gated
    cut = tmp_path / "cut"
    shutil.copytree(folder / "run" / "parts" / "audit-mode", cut / "parts" / "audit-mode")
    kept = rows(cut / "parts" / "audit-mode" / "ledger.sqlite")
    gone_on = cw.gate(model, folder / "gate.toml", cut, baseline=folder / "run" / "parts" / "baseline-mode")
    assert rows(cut / "parts" / "audit-mode" / "ledger.sqlite") == kept
    assert gone_on.verdict == "pass"
    assert gone_on.document["baseline"]["kind"] == "run"
    same = ("behaviors", "checks", "findings", "changes")
    assert {key: gone_on.document[key] for key in same} == {key: found.document[key] for key in same}


def rows(ledger):
    connection = sqlite3.connect(ledger)
    try:
        return connection.execute("SELECT count(*) FROM cell").fetchone()
    finally:
        connection.close()


def test_another_policy_does_not_go_into_the_same_directory(gated, folder):
    _, model, other = gated
    (folder / "other.toml").write_text(POLICY.replace("random = 1", "random = 2"), "utf-8")
    with pytest.raises(LedgerError, match="it differs in policy"):
        cw.gate(model, folder / "other.toml", folder / "run", baseline=other)


def test_what_cannot_be_judged_does_not_pass(llama, folder, tmp_path):
    # Every answer matches, so that no prompt is in the source state.
    shutil.copy(folder / "gate.toml", tmp_path / "gate.toml")
    write_mode(tmp_path, "(?s)^")
    found = cw.gate(llama, tmp_path / "gate.toml", tmp_path / "run")
    assert (found.verdict, found.exit_code) == ("unjudged", 2)
    (eligible,) = [check for check in found.document["checks"] if check["rule"] == "eligible"]
    assert "0 of 16" in eligible["note"]


def test_a_baseline_of_another_shape_is_a_warning_and_no_comparison(llama, gpt2, gated, folder, tmp_path):
    shutil.copytree(folder / "run" / "parts", tmp_path / "run" / "parts")
    found = cw.gate(llama, folder / "gate.toml", tmp_path / "run", baseline=gpt2)
    assert "another architecture" in found.document["baseline"]["missing"][0]["note"]
    assert {c["rule"]: c["status"] for c in found.document["checks"] if c["rule"] in ("opened", "moved")} == {
        "opened": "warn", "moved": "warn",
    }  # fmt: skip
    assert (found.verdict, found.document["warnings"]) == ("pass", 2)


def test_a_run_of_another_kind_is_no_baseline(llama, gated, folder, tmp_path):
    with pytest.raises(UsageError, match=r"another kind \(comparison\)"):
        cw.gate(llama, folder / "gate.toml", tmp_path / "run", baseline=folder / "run" / "parts" / "direction-mode")
