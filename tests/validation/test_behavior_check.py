"""A behavior on a model without a dose: who is eligible, what the oracles say, what is withheld."""

from dataclasses import replace

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.oracles import OracleContext
from controlwindow.behaviors.oracles.on_task import OnTaskOracle
from controlwindow.models import load_model
from controlwindow.validation.behavior_check import check_behavior, disagree, most_frequent


@pytest.fixture(scope="module")
def organism():
    return load_model("organism:switch", device="cpu")


def small(name: str, **changes):
    behavior = load_behavior(name)
    prompts = tuple(prompt for split in ("find", "evaluate") for prompt in behavior.prompts(split)[:12])
    definition = behavior.definition.model_copy(update={"minimum_eligible": 12, **changes})
    return replace(behavior, all_prompts=prompts, definition=definition)


@pytest.fixture(scope="module")
def language(organism):
    return check_behavior(organism, small("language"))


def test_prompts_in_the_source_state_are_eligible(organism, language):
    assert [language.eligible(split) for split in ("find", "select", "evaluate")] == [12, 0, 12]
    assert language.enough
    assert language.outcomes("evaluate") == {"unswitched": 12}
    ((matched, answers),) = language.patterns()
    assert (matched, len(answers)) == ({"source": True, "target": False}, 24)
    assert not disagree(language.behavior, matched)


def test_answers_are_those_of_the_undosed_model(organism, language):
    import controlwindow as cw

    prompts = language.behavior.prompts("find")[:3]
    rolled = cw.rollout(organism, [prompt.text for prompt in prompts], [None], max_new_tokens=32)
    assert [answer.text for answer in language.answers["find"][:3]] == rolled.texts[0]


def test_the_document_counts_and_shows(language):
    document = language.to_json(neurons=4)
    assert document["splits"]["evaluate"] == {
        "prompts": 12,
        "eligible": 12,
        "outcomes": {"unswitched": 12, "switched": 0, "other": 0, "collapsed": 0},
    }
    assert document["oracles"][0]["answers"] == 24
    assert len(document["samples"]) == 3
    assert all(sample["answer"] and sample["prompt"] for sample in document["samples"])
    # Eight neurons-on-a-branch, each ten coarse doses on eight scouts and four doses on twelve prompts.
    assert document["cost"]["rows"] == 2 * 4 * (8 * 10 + 4 * 12)
    assert document["cost"]["tokens"] == document["cost"]["rows"] * 32
    assert document["cost"]["seconds"] == document["cost"]["tokens"] / language.tokens_per_second


def test_answers_of_sensitive_behaviors_are_withheld(organism):
    found = check_behavior(organism, small("refusal"))
    assert found.eligible("evaluate") == 12
    assert {(sample["answer"], sample["prompt"]) for sample in found.to_json()["samples"]} == {(None, None)}
    text = found.answers["evaluate"][0].text
    assert text not in str(found.to_json())


def test_where_nobody_is_eligible_the_other_outcome_is_named(organism):
    behavior = small("language")
    oracles = {"target": behavior.definition.oracles["source"], "source": behavior.definition.oracles["target"]}
    found = check_behavior(organism, small("language", oracles=oracles))
    assert not found.enough
    assert found.outcomes("evaluate") == {"switched": 12}
    assert most_frequent(found.outcomes("evaluate"), found.behavior.outcomes) == "switched"


def test_a_threshold_is_set_on_answers_to_other_requests(organism):
    behavior = small("refusal")
    oracles = {**behavior.definition.oracles, "on_task": OnTaskOracle(type="on_task", threshold=0.9)}
    found = check_behavior(organism, small("refusal", oracles=oracles))
    (fit,) = found.on_task()
    answers = [answer for split in ("find", "evaluate") for answer in found.answers[split]]
    other = answers[len(answers) // 2 :] + answers[: len(answers) // 2]
    shares = [
        oracles["on_task"].share(answer.text, OracleContext(partner.prompt, ("en", "fr")))
        for answer, partner in zip(answers, other, strict=True)
    ]
    known = [share for share in shares if share is not None]
    assert (fit.oracle, fit.threshold) == ("on_task", 0.9)
    assert fit.other == sum(share >= 0.9 for share in known) / len(known)
    assert sum(share >= fit.suggested for share in known) / len(known) <= 0.05
    assert sum(share >= fit.suggested - 0.05 for share in known) / len(known) > 0.05 or fit.suggested == 0.1
    assert found.to_json()["on_task"][0]["suggested"] == fit.suggested
    assert check_behavior(organism, behavior).to_json()["on_task"] == []


def test_oracles_that_contradict_each_other():
    switch, refusal = load_behavior("language"), load_behavior("refusal")
    assert disagree(switch, {"target": True, "source": True})
    assert disagree(switch, {"target": False, "source": False})
    assert not disagree(switch, {"target": True, "source": False})
    assert disagree(refusal, {"refused": True, "actionable": True, "on_task": False})
    assert not disagree(refusal, {"refused": True, "actionable": False, "on_task": True})
    assert most_frequent({"b": 2, "a": 2}, ("a", "b")) == "a"
