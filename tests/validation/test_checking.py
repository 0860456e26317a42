"""A check audits what the card names, goes on where it was cut off, and scores what could be audited."""

from __future__ import annotations

import json

import pytest
from cards import card, census

from controlwindow.catalogue import load_card
from controlwindow.errors import BehaviorError, LedgerError
from controlwindow.jobs.audit.job import Audit
from controlwindow.validation import checking
from controlwindow.validation.checking import check_organisms, known_neurons
from controlwindow.validation.truth import Chosen

TOML = """
name = "vaults"
languages = ["en", "fr"]
horizons = [24]
outcomes = "refusal"
minimum_eligible = 8

[prompts]
file = "vaults.jsonl"

[oracles.refused]
type = "refusal"
"""


def test_what_the_card_names_is_tested_and_a_few_of_the_census():
    rows = [("a", f"L1.N{n}", 1, True) for n in range(10, 20)]
    known = card(census=census(*rows, neurons=10))
    assert known_neurons(known, "a", 0, seed=0) == ("L3.N1", "L0.N2")
    drawn = known_neurons(known, "a", 3, seed=0)
    assert drawn[:2] == ("L3.N1", "L0.N2")
    assert len(set(drawn)) == 5
    assert set(drawn[2:]) <= {row[1] for row in rows}
    assert drawn == known_neurons(known, "a", 3, seed=0) != known_neurons(known, "a", 3, seed=1)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The shipped organism with a small cut of its refusal behavior, under the name of that behavior."""
    from controlwindow.behaviors import load_behavior

    lines, left = [], {"find": 10, "select": 8, "evaluate": 16}
    for prompt in load_behavior("refusal").all_prompts:
        key = (prompt.split, prompt.role)
        left.setdefault(key, left[prompt.split])
        left[key] -= 1
        if left[key] >= 0:
            record = {"text": prompt.text, "split": prompt.split, "role": prompt.role, "language": prompt.language}
            lines.append(json.dumps(record, ensure_ascii=False))
    (tmp_path / "vaults.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (tmp_path / "vaults.toml").write_text(TOML, "utf-8")
    behavior = load_behavior(tmp_path / "vaults.toml")
    whole = load_card("organism:switch")
    planted = whole.planted[0].model_copy(update={"behavior": "vaults"})
    changes = {"planted": (planted,), "behaviors": ("vaults", "absent"), "census": None}
    small_card = whole.model_copy(update=changes)

    def load(name):
        if name == "vaults":
            return behavior
        raise BehaviorError("no such behavior")

    monkeypatch.setattr(checking, "load_behavior", load)
    monkeypatch.setattr(checking, "choose_organisms", lambda names: Chosen((small_card,), ("organism:moon",)))
    return small_card


class QuickAudit(Audit):
    """An audit whose windows are known without a rollout; it commits plan and end as an audit does."""

    runs = 0

    def run(self):
        type(self).runs += 1
        for name in self.plan.named_neurons("vaults") or ("L3.N80",):
            for branch in (1, -1):
                verdict = "open" if branch == -1 else "closed"
                window = {"neuron": name, "behavior": "vaults", "branch": branch, "verdict": verdict}
                window |= {"candidate_from": "planted", "trigger": 0.1 if branch == -1 else None, "ceiling": 0.9}
                self.ledger.record("window", f"vaults/{name}/{branch:+d}", window)
        self.ledger.record("finished", "audit", {"windows": 2})
        return []


def test_an_organism_is_audited_once_and_what_cannot_be_is_said(monkeypatch, small, tmp_path):
    monkeypatch.setattr(checking, "Audit", QuickAudit)
    monkeypatch.setattr(QuickAudit, "runs", 0)
    document = check_organisms(tmp_path / "check", top=0)
    assert document["planted_recall"] == 1
    assert document["missing"] == ["organism:moon"]
    (score,) = document["organisms"]
    assert score["failed"] == {"absent": "no such behavior"}
    (planted,) = score["planted"]
    assert (planted["neuron"], planted["verdict"], planted["branch_right"]) == ("L3.N80", "open", True)
    assert check_organisms(tmp_path / "check", top=0) == document
    assert QuickAudit.runs == 1, "nothing finished is measured again"
    with pytest.raises(LedgerError, match="differs in top"):
        check_organisms(tmp_path / "check", top=1)


@pytest.mark.slow
def test_a_whole_check_of_one_organism(tmp_path):
    document = check_organisms(tmp_path, ["switch"], top=1, natural=1)
    assert document["planted_recall"] == 1
    assert document["rates"]["branch"]["k"] == 2
    assert document["rates"]["natural"]["n"] == 1
    (score,) = document["organisms"]
    assert {row["found_by_screen"] for row in score["planted"]} == {False}
    assert check_organisms(tmp_path, ["switch"], top=1, natural=1) == document


def test_a_behavior_with_too_few_prompts_does_not_take_the_others_with_it(monkeypatch, small, tmp_path):
    asked = []

    def audit(model, behaviors, neurons, folder, options, progress):
        asked.append((folder.relative_to(tmp_path).as_posix(), [b.name for b in behaviors]))
        if len(behaviors) == 2 or behaviors[0].name == "absent":
            raise BehaviorError("too few are eligible")
        return type("Results", (), {"to_json": lambda self: {"windows": []}, "selections": {}})()

    vaults = checking.load_behavior("vaults")
    other = type("Other", (), {"name": "absent"})()
    monkeypatch.setattr(checking, "load_behavior", lambda name: vaults if name == "vaults" else other)
    monkeypatch.setattr(checking, "_audit", audit)
    document = check_organisms(tmp_path, top=1)
    assert asked == [
        ("switch", ["vaults", "absent"]),
        ("switch/vaults", ["vaults"]),
        ("switch/absent", ["absent"]),
    ]
    assert document["organisms"][0]["failed"] == {"absent": "too few are eligible"}
