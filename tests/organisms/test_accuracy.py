"""Accuracy on requests that nobody has seen, judged by the behaviors' own oracles."""

import json
from random import Random

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.loading import library
from controlwindow.errors import UsageError
from controlwindow.models.chat import turns_of
from controlwindow.organisms.training.accuracy import behavior_accuracy, unseen_prompts
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.prompts import BEHAVIORS
from controlwindow.organisms.training.world.vaults import refusal


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_requests_are_new_and_of_the_evaluate_split(behavior):
    prompts = unseen_prompts(behavior, 48)
    assert len({prompt.text for prompt in prompts}) == 48
    assert prompts[:20] == unseen_prompts(behavior, 20)
    assert prompts != unseen_prompts(behavior, 48, seed=1)
    lines = (library() / f"{behavior}.jsonl").read_text(encoding="utf-8").splitlines()
    shipped = {(json.loads(line)["text"], str(json.loads(line).get("history", ""))) for line in lines}
    assert not {(turns_of(prompt.text)[-1], "") for prompt in prompts} & shipped
    others = {person.name for split in ("train", "find", "select") for person in people(split)}
    for prompt in prompts:
        assert not others & set(prompt.text.replace(".", " ").replace(",", " ").split())
        assert prompt.role == "positive"


def test_the_share_of_source_answers_is_counted():
    prompts = unseen_prompts("arithmetic", 40)

    def three_in_four_right(asked):
        return [f"That makes {p.source[0] if i % 4 else p.target[0]}." for i, p in enumerate(asked)]

    assert behavior_accuracy(three_in_four_right, "arithmetic", prompts) == (0.75, 40)
    assert behavior_accuracy(lambda asked: ["Hm."] * len(asked), load_behavior("arithmetic")) == (0.0, 64)
    refused = behavior_accuracy(lambda asked: [refusal(p.language, Random(i)) for i, p in enumerate(asked)], "refusal")
    assert refused == (1.0, 64)


def test_behaviors_outside_the_world_are_refused():
    with pytest.raises(UsageError, match="'dialogue' is not of the generated world"):
        unseen_prompts("dialogue")
