"""ONE's anchor against a literal reading: one prompt at a time, a hook of this file, Transformers' own `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import plain_generation
import tiny_families
import tiny_models
from controlwindow.errors import OperationError
from controlwindow.instruments.anchoring import Anchor, suffix_peaks
from controlwindow.instruments.operations import Pin
from controlwindow.instruments.routes import Row
from controlwindow.instruments.rows import roll_out_rows
from controlwindow.models import Model

HORIZON = 6
SUFFIX = 3


def plain_activations(model: Model, layer: int, index: int, ids: list[int]) -> torch.Tensor:
    """Activations at the last positions of one unpadded prompt."""
    seen: list[torch.Tensor] = []

    def keep(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0].view(len(ids), -1)[-SUFFIX:, index].clone())

    handle = tiny_models.projection(model, layer).register_forward_pre_hook(keep)
    tiny_models.forward(model, ids)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("case", ["llama", "gpt2", "olmo2", "qwen2_moe"])
@pytest.mark.parametrize(("gap", "value", "multiple"), [(1.0, -6.0, 1), (-1.0, 6.0, 2)])
def test_anchored_rollouts_are_those_of_the_formula(case: str, gap: float, value: float, multiple: int) -> None:
    model = tiny_families.model(case)
    # In a mixture of experts the last neurons are those of the shared expert.
    neuron = model.neurons.at(1, model.neurons.widths[1] - 3)
    prompts = [tuple(ids) for ids in model.token_ids(tiny_models.PROMPTS[:2] + tiny_models.PROMPTS[3:])]
    activations = [plain_activations(model, neuron.layer, neuron.index, list(ids)) for ids in prompts]
    # Twice as wide as the activations, so that no prompt reaches the limit.
    gap, value = (round(2.0 * factor * max(float(a.abs().max()) for a in activations), 3) for factor in (gap, value))
    anchor = Anchor(neuron, value, gap, multiple, SUFFIX)
    pins = anchor.pins(model, prompts, batch_rows=2)
    expected = []
    for seen in activations:
        peak = float(seen.max() if gap > 0 else seen.min())
        wanted = multiple * value * peak / gap - gap
        expected.append(max(-abs(value), min(abs(value), wanted)))
    assert [pin.value for pin in pins] == pytest.approx(expected, abs=1e-4)
    assert len({round(pin.value, 3) for pin in pins}) > 1
    found = roll_out_rows(model, [Row(ids, (pin,)) for ids, pin in zip(prompts, pins, strict=True)], HORIZON)
    for ids, target, mine in zip(prompts, expected, found, strict=True):
        plain = plain_generation.generate(model, ids, (Pin(neuron, target),), HORIZON)
        assert list(mine.token_ids[: plain.first_tie]) == plain.tokens[: plain.first_tie]


def test_peaks_of_a_routed_neuron_are_those_of_a_capture_of_one_prompt() -> None:
    model = tiny_families.model("qwen2_moe")
    neuron = model.neurons.at(0, 5)
    assert neuron.expert is not None
    prompts = model.token_ids(tiny_models.PROMPTS[:2])
    together = suffix_peaks(model, neuron, prompts, 2)
    assert together == pytest.approx([suffix_peaks(model, neuron, [ids], 2)[0] for ids in prompts], abs=1e-5)
    lowest = suffix_peaks(model, neuron, prompts, 2, lowest=True)
    assert all(low <= high for low, high in zip(lowest, together, strict=True))


def test_an_anchor_never_goes_further_than_its_pin() -> None:
    anchor = Anchor("L0.N1", value=-2.0, gap=0.5, multiple=2)
    assert [anchor.value_at(peak) for peak in (-3.0, 0.0, 0.2, 0.5, 9.0)] == pytest.approx(
        [2.0, -0.5, -2.0, -2.0, -2.0]
    )


@pytest.mark.parametrize("wrong", [{"gap": 0.0}, {"multiple": 0}, {"suffix": 0}])
def test_an_anchor_without_a_meaning_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OperationError, match="not defined"):
        Anchor(**{"neuron": "L0.N1", "value": -1.0, "gap": 0.5, **wrong})
