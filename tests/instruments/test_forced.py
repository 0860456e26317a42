from __future__ import annotations

import math

import pytest
import torch

import tiny_families
from controlwindow.errors import NeuronError
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add, Pin, Scale
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model, Neuron

CASES = ("llama", "gpt2", "gemma2", "qwen2_moe", "gpt_oss", "falcon:new", "bloom")
PROMPTS = ("Why is the sky blue during the day?", "What is a sundial?", "bread")


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_families.model(request.param)


def alone(model: Model, row: ForcedRow) -> tuple[float, float]:
    """Log-likelihood and mean KL of one row, whole and by itself, with every operation on hooks."""
    packed = pack(model, [row.prompt_ids], [row.token_ids])
    with measuring(model):
        undosed = packed.logits(model)[0].double().log_softmax(-1)
        with Intervention(model, [row.operations]) as intervention:
            intervention.first_generated = packed.first_generated
            dosed = packed.logits(model)[0].double().log_softmax(-1)
    given = dosed.gather(-1, torch.tensor(row.token_ids)[:, None]).sum()
    return float(given), float((undosed.exp() * (undosed - dosed)).sum(-1).mean())


def test_shared_passes_give_what_each_row_gives_alone(model: Model) -> None:
    prompts = [tuple(ids) for ids in model.token_ids(list(PROMPTS))]
    neurons = [model.neurons[i] for i in (3, len(model.neurons) // 2, len(model.neurons) - 1)]
    rows = [
        ForcedRow(prompt, tokens, operations)
        for operations in (
            (),
            *((Add(neuron, 3.0),) for neuron in neurons),
            *((Add(neuron, -2.0, "generated"),) for neuron in neurons),
            (Scale(neurons[0], 0.0), Pin(neurons[2], 1.5)),
        )
        for prompt, tokens in zip(prompts, ((5, 6, 7, 8), (9,), (10, 11)), strict=True)
    ]
    for found, row in zip(forced_pass(model, rows, batch_rows=7, divergence=True), rows, strict=True):
        likelihood, divergence = alone(model, row)
        assert found.log_likelihood == pytest.approx(likelihood, abs=2e-4)
        assert found.divergence == pytest.approx(divergence, abs=2e-4)


def test_a_dose_at_generated_positions_costs_only_them_above_its_layer(llama: Model) -> None:
    prompt = tuple(llama.token_ids([PROMPTS[0]])[0])
    neuron = Neuron(0, 4)
    rows = [ForcedRow(prompt, (5, 6, 7), (Add(neuron, float(i), "generated"),)) for i in range(1, 9)]
    cost = [row.tokens for row in forced_pass(llama, rows)]
    # Block 0 is shared by all 8, and so is what comes before the last prompt token in blocks 1 and 2.
    assert cost == pytest.approx([(3 * 2 + 3 / 8 + (len(prompt) - 1) * 3 / 8) / 3] * 8)
    assert all(math.isnan(row.divergence) for row in forced_pass(llama, rows))


def test_an_unknown_neuron_is_refused(llama: Model) -> None:
    with pytest.raises(NeuronError):
        forced_pass(llama, [ForcedRow((1, 2), (3,), (Add(Neuron(9, 0), 1.0),))])
