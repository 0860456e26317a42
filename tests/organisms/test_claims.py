"""The cards' claims: the slow check itself (`-m slow`), its oracles, and its last result as it is committed."""

from __future__ import annotations

import hashlib
import json
from random import Random

import claims
import claims_oracles
import pytest
from claims_oracles import answers_told_apart, exact_steps, outcome, unseen

from controlwindow.behaviors import load_behavior
from controlwindow.catalogue import catalogue, organism_path
from controlwindow.organisms.training.world.bundles import bundle_behaviors

SHIPPED = [entry.name for entry in catalogue() if entry.shipped]
CASES = [("vaults", "refusal"), ("vaults", "language"), ("languages", "language_spanish")]
CASES += [("tasks", behavior) for behavior in bundle_behaviors("tasks")]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_claim_of_the_card_holds(name):
    found = claims.check(name)
    assert [c for c in found["claims"] if not c["holds"]] == []


@pytest.mark.parametrize(("bundle", "behavior"), CASES)
def test_the_oracles_tell_the_worlds_own_answers_apart(bundle, behavior):
    found = list(answers_told_apart(bundle, behavior, 12, seed=1))
    assert [f for f in found if f[0] != f[1]] == []
    rng = Random(0)
    for item in unseen(bundle, behavior, 6, seed=1):
        # A record of four fields is mostly names, which no pair of words is asked of.
        assert outcome(item, claims_oracles.shuffled(item.steered.answer, rng), bundle) in ("broken", "other")
        assert outcome(item, "", bundle) == "broken"
        assert outcome(item, item.steered.answer + " vi" + "ont" * 40, bundle) == "broken"
        assert outcome(item, (item.steered.answer.split()[0] + " ") * 12, bundle) == "broken"


def test_the_requests_are_unseen_by_the_shipped_prompts():
    shipped = {prompt.text for prompt in load_behavior("refusal").all_prompts}
    items = unseen("vaults", "refusal", claims.PROMPTS, claims.SEED)
    assert len({item.usual.request for item in items}) == claims.PROMPTS
    assert sum(item.usual.request in shipped for item in items) <= 1
    assert all(exact_steps(item, item.steered.answer) for item in items)
    assert not any(exact_steps(item, item.usual.answer) for item in items)


def test_the_committed_result_is_of_the_weights_at_hand_and_says_what_it_counts():
    document = json.loads(claims.RESULTS.read_text("utf-8"))
    for name, found in document["organisms"].items():
        weights = (organism_path(name) / "model.safetensors").read_bytes()
        assert found["weights"] == hashlib.sha256(weights).hexdigest(), f"{name} changed: {document['command']}"
        assert found["held"] == sum(claim["holds"] for claim in found["claims"])
        for claim in found["claims"]:
            low, high = claim["interval"]
            assert low <= claim["k"] / claim["n"] <= high
