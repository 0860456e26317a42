from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import plain_generation
import tiny_models
from controlwindow import geometry
from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.instruments import generic_pass
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.operations import Add
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.measuring.answers import Answers, partners
from controlwindow.measuring.flips import COORDINATES, first_crossing, trigger_flips
from controlwindow.models import Model, Neuron

PAIRS = [(Neuron(2, 3), 1), (Neuron(0, 9), -1), (Neuron(1, 7), 1), (Neuron(1, 7), -1)]
PROMPTS = 4


@pytest.fixture(scope="module")
def behavior() -> Behavior:
    values = {
        "name": "mode",
        "horizons": [4],
        "oracles": {"target": {"type": "regex", "pattern": "a"}},
        "prompts": {
            "find": {"positive": list(CHAT_PROMPTS[:9]), "negative": list(TEXT_PROMPTS[:8])},
            "evaluate": list(CHAT_PROMPTS[10:26]),
        },
        "log_odds": {"kind": "sequences", "target": ["sky blue", "cat"], "control": ["bread during", "paper"]},
    }
    return assemble(BehaviorDefinition.model_validate(values), Path("mode.toml"))


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def median_odds(model: Model, behavior: Behavior, neuron: Neuron, branch: int, t: float) -> float:
    """Median over the prompts of log P(target) − log P(source) per token, each text alone under an independent hook."""
    contrast = behavior.contrast("find")
    mates = partners(contrast.positive, contrast.negative)
    found = []
    for pair in Answers(model).pairs(behavior, contrast.positive[:PROMPTS], mates[:PROMPTS], Cost()):
        values = []
        for text in (pair.target, pair.source):
            operations = (Add(neuron, branch * t * generic_pass(model).budget(model, neuron)),)
            with plain_generation.edited(model, operations, {}):
                logits = tiny_models.forward(model, [*pair.prompt_ids, *text])
            scores = logits.double().log_softmax(-1)
            start = len(pair.prompt_ids) - 1
            values.append(sum(float(scores[start + i, token]) for i, token in enumerate(text)) / len(text))
        found.append(values[0] - values[1])
    return float(np.median(found))


def test_flips_are_where_the_median_log_odds_cross_zero(model: Model, behavior: Behavior) -> None:
    many = [*PAIRS, *((Neuron(layer, n), branch) for layer in (0, 2) for n in range(8) for branch in (1, -1))]
    flips = trigger_flips(model, behavior, many, prompts=PROMPTS)
    assert list(flips) == list(dict.fromkeys(many))
    without = [pair for pair, flip in flips.items() if flip is None]
    assert without
    assert len(without) < len(flips)
    flipped = [pair for pair, flip in flips.items() if flip is not None]
    for pair in (*flipped[:2], *without[:2]):
        curve = generic_pass(model).curve(model, *pair)
        doses = [0.0, *(geometry.dose_for(c) for c in COORDINATES)]
        response = [median_odds(model, behavior, *pair, t) for t in doses]
        expected = first_crossing([curve.coordinate(t) for t in doses], response)
        assert flips[pair] == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_crossings_are_read_between_points() -> None:
    assert first_crossing([0.1, 0.3, 0.5], [-3.0, -1.0, 3.0]) == pytest.approx(0.35)
    assert first_crossing([0.1, 0.3], [1.0, 2.0]) == 0.1
    assert first_crossing([0.1, 0.3, 0.5], [-1.0, -2.0, -0.5]) is None
    assert first_crossing([0.1, 0.3, 0.5, 0.7], [-1.0, 1.0, -1.0, 1.0]) == pytest.approx(0.2)


def test_without_a_norm_an_injection_is_the_dose(model: Model, behavior: Behavior) -> None:
    many = [(Neuron(layer, n), 1) for layer in range(3) for n in range(8)]
    doses = trigger_flips(model, behavior, many, prompts=PROMPTS)
    injections = trigger_flips(model, behavior, many, prompts=PROMPTS, injected=True)
    assert any(flip is not None for flip in doses.values())
    for pair, flip in doses.items():
        assert injections[pair] == (None if flip is None else pytest.approx(flip, abs=1e-3))
