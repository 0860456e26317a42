"""CNA from its definition, in plain Transformers calls: δ, the top k without universal neurons, multiplied activations.

The reference shares no code with the package: activations are read by a hook of this file, one unpadded prompt at a
time, and circuits are scaled by replacing the projection's forward under `generate`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import plain_generation
import tiny_families
import tiny_models
from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.cells import SetCell
from controlwindow.circuits.selection import Circuit
from controlwindow.instruments import generic_pass
from controlwindow.instruments.operations import Scale
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.jobs.screen.call import run_screen
from controlwindow.measuring.steering import scalings
from controlwindow.models import Model, Neuron
from tiny_models import PROMPTS

K = 8
LADDER = (0.5, 0.0, -1.0, 2.0)
DENSE = ("llama", "gpt2", "gemma2", "olmo2", "gpt_neox")


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
    }
    return assemble(BehaviorDefinition.model_validate(values), Path("mode.toml"))


def last_activations(model: Model, prompts: list[str]) -> np.ndarray:
    """[prompts, neurons]"""
    rows = []
    for prompt in prompts:
        seen: list[torch.Tensor] = []
        handles = [
            tiny_models.projection(model, layer).register_forward_pre_hook(
                lambda _m, given, s=seen: s.append(given[0].reshape(-1, given[0].shape[-1])[-1])
            )
            for layer in range(model.layers)
        ]
        tiny_models.forward(model, model.token_ids([prompt])[0])
        for handle in handles:
            handle.remove()
        rows.append(torch.cat(seen).double().numpy())
    return np.array(rows)


def literal_circuit(model: Model, behavior: Behavior) -> list[str]:
    """CNA: the largest |mean a(X+) − mean a(X−)|, but for neurons on top of 80 % of diverse prompts."""
    sides = behavior.contrast("find")
    plus, minus = (last_activations(model, [p.text for p in side]) for side in (sides.positive, sides.negative))
    delta = plus.mean(0) - minus.mean(0)
    diverse = np.abs(last_activations(model, list(generic_pass(model).prompts)))
    often = np.zeros(diverse.shape[1])
    for values in diverse:
        often[np.argsort(-values)[:32]] += 1 / len(diverse)
    names = [f"L{layer}.N{index}" for layer, width in enumerate(model.neurons.widths) for index in range(width)]
    kept = [place for place in np.argsort(-np.abs(delta)) if often[place] < 0.8]
    return [names[place] for place in kept[:K]]


@pytest.mark.parametrize("case", DENSE)
def test_the_circuit_is_the_literal_one(case: str, behavior: Behavior) -> None:
    model = tiny_families.model(case)
    found = Circuit.of(run_screen(model, behavior, "contrastive").table, K)
    assert list(found.neurons) == literal_circuit(model, behavior)


@pytest.mark.parametrize("case", [*DENSE, "qwen2_moe"])
def test_multiplied_circuits_say_what_generate_says(case: str, behavior: Behavior) -> None:
    """Same tokens, up to the first step that is a tie."""
    model = tiny_families.model(case)
    names = Circuit.of(run_screen(model, behavior, "contrastive").table, K).neurons
    cells = [SetCell("mode", "evaluate", names, factor) for factor in LADDER]
    prompts = model.token_ids(PROMPTS[:2])
    rows = [Row(tuple(ids), scalings(cell.neurons, cell.factor, "all")) for ids in prompts for cell in cells]
    found = roll_out_rows(model, rows, 6)
    changed = 0
    for row, rollout in zip(rows, found, strict=True):
        operations = [Scale(operation.neuron, operation.factor) for operation in row.operations]
        assert {str(operation.neuron) for operation in operations} == set(names)
        plain = plain_generation.generate(model, row.prompt_ids, operations, 6)
        agreed = min(plain.first_tie, len(plain.tokens))
        assert list(rollout.token_ids)[:agreed] == plain.tokens[:agreed]
        undosed = plain_generation.generate(model, row.prompt_ids, [], 6)
        changed += plain.tokens != undosed.tokens
    assert changed > 0, "no strength changed anything: the test has nothing to say"


def test_the_first_neurons_of_a_circuit_are_those_of_a_smaller_one(llama: Model, behavior: Behavior) -> None:
    table = run_screen(llama, behavior, "contrastive").table
    assert Circuit.of(table, 3).neurons == Circuit.of(table, K).neurons[:3]
    assert all(Neuron.parse(name) in llama.neurons for name in Circuit.of(table, K).neurons)
