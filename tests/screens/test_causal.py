from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import tiny_models
from controlwindow import Dose, generic_pass, load_model, run_screen
from controlwindow.behaviors import Behavior
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add
from controlwindow.models import Model, Neuron
from controlwindow.screens import find_screen
from controlwindow.screens.causal import COORDINATE, STAGES, Stage
from small_behaviors import SEQUENCES, make_behavior


@pytest.fixture(scope="module")
def behavior() -> Behavior:
    return make_behavior(log_odds=SEQUENCES)


def test_stages_narrow_and_never_use_a_prompt_twice(llama: Model, behavior: Behavior) -> None:
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    count, entered, used = len(llama.neurons), len(llama.neurons), 0
    # Every neuron's gain is its number; the best branch is −1.
    for number, stage in enumerate(STAGES):
        cells = planner.next_cells()
        assert sum(len(cell.columns) or llama.neurons.widths[cell.layer] for cell in cells) == entered
        assert {cell.first for cell in cells} == {used}
        assert {cell.coordinate for cell in cells} == {COORDINATE}
        assert {cell.positions for cell in cells} == {"all" if stage.whole else "generated"}
        results = {}
        for cell in cells:
            columns = np.array(cell.columns or range(llama.neurons.widths[cell.layer]))
            gain = (48 * cell.layer + columns).astype(float)
            shift = np.stack([gain - 1, gain], 1)[..., None].repeat(cell.prompts, -1)
            results[cell] = [{"shift": pack_array(shift), "damage": pack_array(0 * shift[..., 0]), "length": 8}]
        planner.update(results)
        used += stage.prompts
        if number + 1 < len(STAGES):
            following = STAGES[number + 1]
            entered = min(entered, max(following.least, round(following.share * count)))
    assert planner.next_cells() == []
    table = planner.table()
    assert table["neuron"].to_list() == [str(neuron) for neuron in reversed(list(llama.neurons))]
    assert set(table["sign"]) == {-1}
    assert set(table["coherence"][:47]) == {1.0}


def test_the_stage_reached_ranks_above_the_score(
    llama: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = (Stage(1, 1, 1.0, 0), Stage(1, 1, 1 / 100, 2))
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", two)
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    for step in (1.0, -1.0):
        results = {}
        for cell in planner.next_cells():
            columns = np.array(cell.columns or range(48))
            shift = (step * (100 + 48 * cell.layer + columns))[:, None, None].repeat(2, 1)
            results[cell] = [{"shift": pack_array(shift), "damage": pack_array(0 * shift[..., 0]), "length": 8}]
        planner.update(results)
    # The two that went on did badly there, and still come before those that were left behind.
    assert planner.table()["neuron"].to_list()[:3] == ["L2.N46", "L2.N47", "L2.N45"]


def alone(model: Model, ids: list[int], text: tuple[int, ...], operation: Add | None) -> tuple[float, torch.Tensor]:
    """Log-likelihood of a text after a prompt, and its next-token log-probabilities, in one whole pass."""
    tokens = torch.tensor([[*ids, *text]])
    with measuring(model), Intervention(model, [() if operation is None else (operation,)]) as intervention:
        intervention.first_generated = len(ids) - 1
        logits = model.hf_model(tokens, use_cache=False).logits[0, len(ids) - 1 : -1]
    scores = logits.double().log_softmax(-1)
    return float(scores[range(len(text)), list(text)].sum()), scores


def test_the_gain_is_the_shift_of_the_log_odds_less_the_damage(gpt2: Model, behavior: Behavior) -> None:
    """One neuron of the first stage, whole pass by whole pass."""
    generic, neuron = generic_pass(gpt2), Neuron(1, 7)
    found = run_screen(gpt2, behavior, "causal")
    sides = behavior.contrast("find").positive
    texts = [tuple(gpt2.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in behavior.log_odds.target]
    curve = {sign: generic.curve(gpt2, neuron, sign) for sign in (1, -1)}
    gains = {}
    for sign in (1, -1):
        dose = Dose(neuron, sign * max(curve[sign].dose(COORDINATE), 0.1), "generated")
        add = Add(neuron, dose.alpha(gpt2), "generated")
        shifts, length = [], 0
        for prompt in sides[: STAGES[0].prompts]:
            ids = gpt2.token_ids([prompt.text])[0]
            source = greedy(gpt2, ids, 8)
            length = max(length, len(source))
            target = max(texts, key=lambda text, ids=ids: alone(gpt2, ids, text, None)[0] / len(text))
            after, before = (
                alone(gpt2, ids, target, o)[0] - alone(gpt2, ids, source, o)[0] for o in (add, None)
            )  # fmt: skip
            shifts.append(after - before)
        number = next(i for i, tokens in enumerate(generic.token_ids) if tokens)
        ids, tokens = list(generic.prompt_ids[number]), tuple(generic.token_ids[number][:length])
        undosed, dosed = (alone(gpt2, ids, tokens, o)[1] for o in (None, add))
        damage = float((undosed.exp() * (undosed - dosed)).sum(-1).mean())
        gains[sign] = np.mean(shifts) - length * damage
    row = found.table.filter(pl.col("neuron") == str(neuron)).row(0, named=True)
    assert row["rank"] > STAGES[1].least, "choose another neuron: this one went on, so its score is a later stage's"
    assert row["score"] == pytest.approx(max(gains.values()), abs=2e-3)
    assert row["sign"] == max(gains, key=gains.__getitem__)


def greedy(model: Model, ids: list[int], tokens: int) -> tuple[int, ...]:
    found: list[int] = []
    while len(found) < tokens and not (found and found[-1] in model.stop_ids):
        found.append(int(tiny_models.forward(model, [*ids, *found])[-1].argmax()))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "neuron", "branch"), [("refusal", "L3.N80", -1), ("language", "L4.N160", 1)])
def test_planted_controllers_are_found(name: str, neuron: str, branch: int) -> None:
    table = run_screen(load_model("organism:switch"), name, "causal").table
    row = table.filter(pl.col("neuron") == neuron).row(0, named=True)
    assert row["rank"] <= 16
    assert row["sign"] == branch
