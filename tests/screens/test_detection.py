"""Areas under curves against loops over pairs of prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny_families
import tiny_models
from controlwindow import detection
from controlwindow.errors import BehaviorError
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.models import Model
from controlwindow.screens.detection import area_interval, areas_under_curves
from small_behaviors import make_behavior


def literal(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """Area and DeLong error of one neuron, pair by pair."""
    above = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in negative] for a in positive]
    area = sum(map(sum, above)) / len(positive) / len(negative)
    of_positive = [sum(row) / len(row) for row in above]
    of_negative = [sum(row[j] for row in above) / len(above) for j in range(len(negative))]
    variance = sum((v - area) ** 2 for v in of_positive) / (len(positive) - 1) / len(positive)
    variance += sum((v - area) ** 2 for v in of_negative) / (len(negative) - 1) / len(negative)
    return area, variance**0.5


def test_areas_and_errors_are_delongs() -> None:
    generator = np.random.default_rng(0)
    # Ties, and neurons that tell both sides apart fully or not at all.
    positive = np.round(generator.normal(0.5, 1, (9, 7)), 1)
    negative = np.round(generator.normal(0.0, 1, (6, 7)), 1)
    positive[:, 0], negative[:, 0] = 2.0, 1.0
    positive[:, 1] = negative[0, 1] = 0.0
    negative[:, 1] = 0.0
    areas, errors = areas_under_curves(positive, negative)
    for column in range(7):
        area, error = literal(positive[:, column], negative[:, column])
        assert areas[column] == pytest.approx(area)
        assert errors[column] == pytest.approx(error, abs=1e-12)
    assert areas[0] == 1.0
    assert areas[1] == 0.5


def test_intervals_cover_the_true_area_and_stay_inside() -> None:
    generator = np.random.default_rng(1)
    # P(X > Y) of two unit normals one apart.
    truth, neurons = 0.7602, 3000
    positive = generator.normal(1, 1, (40, neurons))
    negative = generator.normal(0, 1, (40, neurons))
    areas, errors = areas_under_curves(positive, negative)
    low, high = area_interval(areas, errors, (40, 40))
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97
    assert np.all((low >= 0) & (high <= 1) & (low <= areas) & (areas <= high))
    ends_low, ends_high = area_interval(np.array([0.0, 1.0]), np.zeros(2), (8, 30))
    assert ends_low.tolist() == pytest.approx([0.0, 1 - 0.3694], abs=1e-3)
    assert ends_high.tolist() == pytest.approx([0.3694, 1.0], abs=1e-3)


@pytest.mark.parametrize("case", ["llama", "gpt2", "olmo2", "qwen2_moe"])
def test_every_neuron_of_a_model_is_read_at_the_last_prompt_position(case: str) -> None:
    model = tiny_families.model(case)
    prompts = make_behavior().definition.prompts.model_dump()
    prompts["evaluate"] = {"positive": list(CHAT_PROMPTS[10:26]), "negative": list(TEXT_PROMPTS[10:20])}
    behavior = make_behavior(prompts=prompts)
    table = detection(model, behavior)
    assert table["neuron"].to_list() == [str(neuron) for neuron in model.neurons]
    contrast = behavior.contrast("evaluate")
    layer = model.layers - 1
    # The dense FFN's neurons, or those of the shared expert, which come last.
    start = sum(model.neurons.widths[:layer]) + model.neurons.shapes[layer].routed
    sides = [
        np.stack([_last(model, layer, prompt.text) for prompt in side])
        for side in (contrast.positive, contrast.negative)
    ]
    for column in range(0, sides[0].shape[1], 7):
        area, _ = literal(sides[0][:, column], sides[1][:, column])
        assert table["auc"][start + column] == pytest.approx(area)


def _last(model: Model, layer: int, text: str) -> np.ndarray:
    seen: list[torch.Tensor] = []
    hook = tiny_models.projection(model, layer).register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    (ids,) = model.token_ids([text])
    tiny_models.forward(model, ids)
    hook.remove()
    return seen[0].view(len(ids), -1)[-1].double().numpy()


def test_a_split_without_benign_prompts_is_refused(llama: Model) -> None:
    with pytest.raises(BehaviorError, match="negative prompts in split 'evaluate'"):
        detection(llama, make_behavior())
