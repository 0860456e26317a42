"""Rollouts of sets of neurons and of injected directions are those of a slow, independent decoder."""

from __future__ import annotations

import pytest
import torch

import plain_generation
from controlwindow.behaviors import load_behavior
from controlwindow.cells import DirectionCell, DirectionsCell, RolloutCell, SetCell, cell_from_key, cell_key
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.operations import Inject, Scale
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.models import Neuron, load_model
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler

NEURONS = ("L3.N80", "L3.N5", "L6.N17", "L2.N33")
HORIZON = 12


@pytest.fixture(scope="module")
def organism():
    return load_model("organism:switch", device="cpu")


@pytest.fixture(scope="module")
def behavior():
    return load_behavior("refusal")


@pytest.fixture(scope="module")
def engine(organism, behavior):
    generic = generic_pass(organism)
    with Ledger() as ledger:
        engine = Engine(organism, {"refusal": behavior}, generic, ledger, fit_detector(organism, generic, 0)[0])
        undosed = RolloutCell("refusal", "evaluate", horizon=64)
        Scheduler(ledger, engine).run("undosed", [Asks([undosed])])
        yield engine


def plain(organism, behavior, prompt_ids, operations):
    texts = {prompt.id: prompt.text for prompt in behavior.prompts("evaluate")}
    found = []
    for name in prompt_ids:
        ids = organism.token_ids([texts[name]])[0]
        found.append(plain_generation.generate(organism, ids, operations, HORIZON, {}))
    return found


def agree(rows, expected):
    for row, reference in zip(rows, expected, strict=True):
        decided = min(reference.first_tie, len(row["token_ids"]))
        assert decided > 0
        assert row["token_ids"][:decided] == reference.tokens[:decided]


@pytest.mark.parametrize(("factor", "positions"), [(0.0, "all"), (3.0, "all"), (-1.0, "generated")])
def test_a_set_scaled_together_says_what_a_plain_decoder_says(organism, behavior, engine, factor, positions):
    prompts = tuple(prompt.id for prompt in behavior.prompts("evaluate")[:3])
    cell = SetCell("refusal", "evaluate", NEURONS, factor, positions, HORIZON, prompts)
    operations = [Scale(Neuron.parse(name), factor, positions) for name in NEURONS]
    rows = engine.run([cell])[cell]
    agree(rows, plain(organism, behavior, prompts, operations))
    assert [row["coordinate"] for row in rows] == [None] * 3
    assert all(set(row["outcomes"]) == {"8", "12"} for row in rows)


def test_a_set_of_none_is_the_undosed_model(behavior, engine):
    prompts = tuple(prompt.id for prompt in behavior.prompts("evaluate")[:3])
    cell = SetCell("refusal", "evaluate", (), 0.0, "all", 64, prompts)
    undosed = engine.undosed("refusal", "evaluate", 64)
    for row in engine.run([cell])[cell]:
        assert tuple(t for t in row["token_ids"] if t not in engine.model.stop_ids) == undosed[row["prompt"]].token_ids


@pytest.mark.parametrize("direction", ["objective", "mean_difference", "random"])
def test_an_injected_direction_is_measured_on_its_split_and_has_the_length_asked_for(
    organism, behavior, engine, direction
):
    prompts = tuple(prompt.id for prompt in behavior.prompts("evaluate")[:2])
    cell = DirectionCell("refusal", "evaluate", direction, 3, 0.4, horizon=HORIZON, prompts=prompts)
    if direction == "mean_difference":
        contrast = behavior.contrast("find")
        means = []
        for side in (contrast.negative, contrast.positive):
            ids = organism.token_ids([prompt.text for prompt in side])
            with torch.no_grad():
                states = [organism.hf_model(torch.tensor([i]), output_hidden_states=True).hidden_states[4] for i in ids]
            means.append(torch.stack([state[0, -1] for state in states]).mean(0))
        vector = means[0] - means[1]
    elif direction == "objective":
        weight = organism.hf_model.get_output_embeddings().weight.detach()
        odds = behavior.log_odds
        first = [
            torch.stack([weight[i] for i in sorted({organism.tokenizer(t, add_special_tokens=False)["input_ids"][0]
                                                    for t in texts})]).mean(0)
            for texts in (odds.target, odds.control)
        ]  # fmt: skip
        vector = first[0] - first[1]
    else:
        vector = engine.steering._vector(cell)
        assert torch.equal(vector, engine.steering._vector(cell))
    length = 0.4 * generic_pass(organism).residual_norm[3]
    operation = Inject(3, length * vector / vector.norm(), "all")
    agree(engine.run([cell])[cell], plain(organism, behavior, prompts, [operation]))


def test_cells_of_circuits_survive_their_keys():
    for cell in (
        SetCell("b", "evaluate", NEURONS, 0.5, "generated", 8, ("p",), 3),
        DirectionCell("b", "select", "random", 2, 0.25, source="c", seed=4),
        DirectionsCell("b", "find"),
    ):
        assert cell_from_key(cell_key(cell)) == cell
