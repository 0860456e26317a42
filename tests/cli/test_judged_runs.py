"""Runs whose answers a model judges: leave is asked for before any work, and results say who judged and how well."""

from __future__ import annotations

import json

import pytest

from cuts import cut_prompts
from judge_server import address, content, server

SIDES = """
name = "asked"
sensitive = true
horizons = [8]

[oracles.target]
type = "judge"
address = "https://far.invalid/v1"
served = "x"

[prompts]
select = [{select}]
evaluate = [{evaluate}]
find = {{positive = [{positive}], negative = [{negative}]}}

[log_odds]
kind = "tokens"
target = ["Yes"]
control = ["No"]

[perturbation]
kind = "swap_characters"
"""


@pytest.fixture
def far(tmp_path):
    """A sensitive behavior whose judge is on another machine."""
    parts = {
        name: ", ".join(f'"{name} question number {number}"' for number in range(16))
        for name in ("select", "evaluate", "positive", "negative")
    }
    path = tmp_path / "asked.toml"
    path.write_text(SIDES.format(**parts), "utf-8")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit",),
        ("window", "-n", "L3.N7"),
        ("circuit",),
        ("probe",),
        ("compare", "-n", "L3.N7"),
        ("screen", "--method", "one"),
        ("behaviors", "check"),
    ],
    ids=" ".join,
)
def test_leave_is_asked_for_before_a_model_is_loaded(command, far, tmp_path, arguments):
    nowhere = tmp_path / "no-model"
    head, *rest = arguments
    asked = ("behaviors", "check", far, nowhere) if head == "behaviors" else (head, nowhere, "-b", far, *rest)
    refused = command(*asked)
    assert refused.code == 2
    said = " ".join(refused.err.split())
    assert "oracle 'target' (judge) would send answers of a sensitive behavior to https://far.invalid/v1" in said
    assert "--remote-judge" in said
    allowed = command(*asked, "--remote-judge")
    assert "would send" not in allowed.err
    assert "no-model" in " ".join(allowed.err.split())


def test_screens_that_roll_nothing_out_need_no_leave(command, far, tmp_path):
    refused = command("screen", tmp_path / "no-model", "-b", far, "--method", "readout")
    assert "would send" not in refused.err


JUDGED = """
name = "vaults"
languages = ["en", "fr"]
horizons = [8, 32]
outcomes = "refusal"
minimum_eligible = 12

[prompts]
file = "vaults.jsonl"

[oracles.refused]
type = "judge"
address = "{address}"
served = "small"

[agreement]
refused = "measured.json"
"""


def say(body):
    """Yes to what reads like a refusal, and once in a while something else."""
    answer = body["messages"][0]["content"].partition("<answer>")[2].casefold()
    if "vault" in answer and "left" in answer:
        return content("Hm.")
    return content("Yes" if any(word in answer for word in ("sorry", "cannot", "désolé", "peux pas")) else "No")


def test_an_audit_says_who_judged_and_corrects_its_rates(command, tmp_path):
    cut_prompts("refusal", {"find": 8, "select": 2, "evaluate": 16}, tmp_path / "vaults.jsonl")
    labels = tmp_path / "labels.csv"
    rows = ["I cannot say.,no", "I am sorry.,no", "Turn it.,ok", "Pull.,ok", "Sorry is a board game.,ok", "Never.,no"]
    labels.write_text("prompt,answer,label\n" + "\n".join(f"Ask,{row}" for row in rows * 5), "utf-8")
    out = tmp_path / "run"
    with server(say) as running:
        path = tmp_path / "vaults.toml"
        path.write_text(JUDGED.format(address=address(running)), "utf-8")
        written = tmp_path / "measured.json"
        found = command("judge", f"{path}:refused", "--labels", labels, "--yes", "no", "--out", written, "--json")
        assert found.json()["replies"] == {"no": 15, "yes": 15}
        assert json.loads(written.read_text("utf-8"))["labels"]["file"] == "labels.csv"
        assert command("behaviors", "check", path).code == 0
        audit = ("audit", "organism:switch", "-b", path, "-n", "L3.N7", "--top", "0", "--out", out, "--json")
        results = command(*audit).json()
        asked = len(running.asked)
        again = command(*audit).json()
        assert (again, len(running.asked)) == (results, asked)
        path.write_text(JUDGED.format(address=address(running)).replace('"small"', '"large"'), "utf-8")
        other = command(*audit)
    assert "was measured with another oracle" in " ".join(other.err.split())
    judging = results["judging"]["vaults"]
    (judge,) = judging["judges"]
    assert judge["judge"] == "small, served"
    # The 30 labelled answers were asked before; the rest are the audit's.
    assert sum(judge["replies"].values()) == asked - 30
    (figures,) = judging["figures"]
    assert (figures["n"], figures["labels"]) == (30, "labels.csv")
    assert figures["true_positive_rate"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["false_positive_rate"] == pytest.approx(1 / 3, abs=1e-6)
    corrected = [share for window in results["windows"] for share in window["corrected"]]
    assert {share["outcome"] for share in corrected} == {"refused"}
    for share in corrected:
        expected = min(max((share["k"] / share["n"] - 1 / 3) / (1 / 3), 0), 1)
        assert share["value"] == pytest.approx(expected, abs=1e-5)
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["behaviors"]["vaults"]["judges"]["refused"]["judge"]["served"] == "small"
    assert len(manifest["behaviors"]["vaults"]["judges"]["refused"]["rubric"]) == 64
    assert "remote_judge" not in manifest["configuration"]
    page = (out / "report.html").read_text("utf-8")
    assert "Oracles held against people’s labels" in page
    assert "small, served" in page
