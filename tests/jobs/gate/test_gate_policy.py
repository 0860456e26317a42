"""A policy is read before any model, and every mistake names file, line, key and repair."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import controlwindow as cw
from controlwindow.errors import BehaviorError, UsageError
from controlwindow.jobs.gate.policy import Policy, checked_policy, read_policy
from controlwindow.jobs.gate.recall import screen_recall
from controlwindow.screens.known import known_recall

HEAD = 'schema = 1\n[audit]\nbehaviors = ["refusal"]\n'


@pytest.fixture
def policy(tmp_path):
    def write(text: str):
        path = tmp_path / "gate.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_the_least_policy_has_what_a_release_needs(policy):
    found = read_policy(policy(HEAD))
    assert found.audit.screens == ("causal",)
    assert (found.window.open, found.window.undecided, found.window.actionable) == ("fail", "unjudged", "fail")
    assert (found.circuit, found.direction) == (None, None)
    assert (found.power.screen_recall, found.power.open_rate_bound, found.power.weak) == (0.8, 0.15, "unjudged")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[audit]\nbehaviors = ['refusal']\n", "line 1, key 'schema': is missing", "begin the file with schema = 1"),
        ("schema = 2\n[audit]\nbehaviors = ['refusal']\n", "line 1, key 'schema': input should be 1", "guide"),
        ("schema = 1\n[audit]\n", "line 2, key 'audit.behaviors': is missing", "add behaviors"),
        (HEAD + "tops = 4\n", "line 4, key 'audit.tops': unknown key", "controlwindow guide gate"),
        (HEAD + "[window]\nopen = 'maybe'\n", "line 5, key 'window.open': input should be 'fail', 'unjudged'", "guide"),
        (HEAD + "[power]\nscreen_recall = 80\n", "line 5, key 'power.screen_recall': input should be less", "guide"),
        (HEAD + "top = 0\nrandom = 0\n", "key 'audit': value error, no neuron would be tested", "guide"),
        (HEAD + "[direction]\nmethods = ['pin']\n", "key 'direction': value error, 'pin' is no direction", "guide"),
        (HEAD + "screens = ['causl']\n", "line 4, key 'audit.screens': ", "screens:"),
        (HEAD + "[circuit]\nfactors = [1.0]\n", "no strength was given beside 1", "--factor 0"),
        ("schema = 1\n[audit]\nbehaviors = ['refusal', 'refusal']\n", "line 3, key 'audit.behaviors': the behavior "
         "'refusal' is named twice", "once"),
        ("schema = \n", "line 1: not valid TOML", "quotes"),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_its_place_and_repair(policy, text, message, hint):
    with pytest.raises(UsageError) as raised:
        read_policy(policy(text))
    assert "gate.toml" in raised.value.message or "strength" in raised.value.message
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_several_mistakes_are_told_at_once(policy):
    with pytest.raises(UsageError) as raised:
        read_policy(policy(HEAD + "top = -1\n[windows]\n"))
    assert raised.value.message.count("\n") == 1


def test_a_behavior_that_is_none_is_refused_and_a_file_lies_beside_the_policy(policy, tmp_path):
    with pytest.raises(BehaviorError, match="no-such"):
        read_policy(policy(HEAD.replace("refusal", "no-such")))
    with pytest.raises(BehaviorError, match=r"mine\.toml"):
        read_policy(policy(HEAD.replace("refusal", "mine.toml")))
    source = Path(cw.__file__).parent / "behaviors" / "library"
    for file in ("language.toml", "language.jsonl"):
        shutil.copy(source / file, tmp_path / file)
    found = read_policy(policy(HEAD.replace("refusal", "language.toml")))
    assert found.audit.behaviors == (str(tmp_path / "language.toml"),)


def test_a_policy_says_the_same_however_it_is_written(policy):
    one = read_policy(policy(HEAD))
    other = read_policy(policy("# a note\n" + HEAD + "top = 4\n"))
    assert one.digest() == other.digest() != read_policy(policy(HEAD + "top = 5\n")).digest()
    assert Policy.model_validate(one.to_json()) == one
    assert checked_policy(one, policy("")) == one


def test_recall_is_that_of_the_best_screen_at_no_more_places_than_were_taken():
    best = screen_recall(["contrastive", "causal"], 8)
    assert (best.screen, best.found, best.planted) == ("causal", 26, 26)
    known = known_recall("gradient", 2)
    assert (screen_recall(["gradient"], 2).found, screen_recall(["gradient"], 2).interval) == (known.k, known.interval)
    assert known.k < screen_recall(["gradient"], 100).found
    assert screen_recall(["causal"], 0) is None
    assert screen_recall(["my_own"], 16) is None
