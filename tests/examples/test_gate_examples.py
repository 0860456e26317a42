"""The example policy and workflows: valid by the schemas of both services, and their shell run here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from controlwindow.jobs.gate.outputs import OUTPUTS, SUMS
from controlwindow.jobs.gate.policy import read_policy

EXAMPLES = Path(__file__).parents[2] / "examples" / "gate"
POLICY = """
schema = 1
[audit]
behaviors = ["language"]
top = 0
random = 1
[window]
open = "fail"
[power]
weak = "unjudged"
"""


def workflow(name: str) -> dict:
    return yaml.safe_load((EXAMPLES / name).read_text("utf-8"))


def test_the_example_policy_is_one():
    policy = read_policy(EXAMPLES / "gate.toml")
    assert policy.audit.behaviors == ("refusal",)
    assert policy.circuit is not None
    assert policy.direction is not None


@pytest.mark.parametrize(("name", "schema"), [("github.yml", "github-workflows"), ("gitlab.yml", "gitlab-ci")])
def test_workflows_are_valid(name, schema):
    text = resources.files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{schema}.json").read_text("utf-8")
    found = workflow(name)
    if True in found:
        # YAML 1.1 reads the key `on` as true.
        found["on"] = found.pop(True)
    found_errors = list(jsonschema.validators.validator_for(json.loads(text))(json.loads(text)).iter_errors(found))
    assert [error.message for error in found_errors] == []


def github() -> tuple[str, dict[str, str]]:
    job = workflow("github.yml")["jobs"]["gate"]
    (step,) = [step for step in job["steps"] if step.get("name") == "Gate"]
    return step["run"], job["env"]


def gitlab() -> tuple[str, dict[str, str]]:
    job = workflow("gitlab.yml")["gate"]
    return "\n".join(job["script"]), job["variables"]


def test_what_is_kept_is_what_may_be_shared():
    kept = {f"gate/{name}" for name in (*OUTPUTS, SUMS, f"{SUMS}.sig")}
    steps = workflow("github.yml")["jobs"]["gate"]["steps"]
    assert set(next(s for s in steps if s.get("name") == "Keep the outputs")["with"]["path"].split()) == kept
    assert set(workflow("gitlab.yml")["gate"]["artifacts"]["paths"]) == kept


@pytest.mark.parametrize("service", [github, gitlab], ids=["github", "gitlab"])
@pytest.mark.parametrize(("code", "summary"), [(0, True), (1, True), (2, False)])
def test_the_shell_of_a_workflow_ends_as_the_gate_does(service, code, summary, tmp_path):
    """With a stand-in for the command, which writes what it was called with and the block for the summary."""
    command = tmp_path / "bin" / "controlwindow"
    command.parent.mkdir()
    wrote = 'mkdir -p "$6" && echo block > "$6/gate.md"\n' if summary else ""
    command.write_text(f'#!/bin/sh\necho "$@" > called\n{wrote}exit {code}\n', "utf-8")
    command.chmod(0o755)
    done = run(service, tmp_path, command.parent, {"MODEL": "some model", "GITHUB_STEP_SUMMARY": "summary.md"})
    assert done.returncode == code
    assert (tmp_path / "called").read_text("utf-8") == "gate some model --policy gate.toml --out gate\n"
    if service is github:
        assert (tmp_path / "summary.md").exists() == summary


@pytest.mark.slow
@pytest.mark.parametrize("service", [github, gitlab], ids=["github", "gitlab"])
def test_the_shell_of_a_workflow_gates_an_organism(service, tmp_path):
    (tmp_path / "gate.toml").write_text(POLICY, "utf-8")
    changes = {"MODEL": "organism:switch", "GITHUB_STEP_SUMMARY": "summary.md"}
    done = run(service, tmp_path, Path(sys.executable).parent, changes)
    assert done.returncode == 2, "one random neuron bounds nothing"
    assert json.loads((tmp_path / "gate" / "gate.json").read_text("utf-8"))["verdict"] == "unjudged"


def run(service, directory, path, changes):
    script, variables = service()
    variables = {name: value for name, value in variables.items() if name not in changes}
    environment = os.environ | variables | changes | {"PATH": f"{path}:{os.environ['PATH']}"}
    # As both services run it: stop at the first line that fails.
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=directory, env=environment, capture_output=True, text=True
    )
