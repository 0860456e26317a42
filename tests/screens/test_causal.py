from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

import tiny_models
from controlwindow import Dose, generic_pass, load_model, run_screen
from controlwindow.behaviors import Behavior
from controlwindow.cells import Cell, DosedCell, Rows, TurnCell
from controlwindow.instruments.arrays import pack_array, unpack_array
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.runs.ledger import Ledger
from controlwindow.screens import find_screen
from controlwindow.screens.causal import Stage
from controlwindow.screens.remainder import Remainder
from small_behaviors import SEQUENCES, make_behavior


@pytest.fixture(scope="module")
def behavior() -> Behavior:
    return make_behavior(log_odds=SEQUENCES)


def answered(model: Model, cells: list[Cell], gain: Callable[[int, np.ndarray], np.ndarray]) -> dict[Cell, Rows]:
    """Rows as the handlers give them, made so that the better branch −1 gains what is said of layer and columns."""
    results: dict[Cell, Rows] = {}
    for cell in cells:
        assert isinstance(cell, TurnCell | DosedCell)
        columns = np.array(cell.columns or range(model.neurons.widths[cell.layer]))
        value = np.asarray(gain(cell.layer, columns), dtype=float)
        shift = np.stack([value - 1, value], 1)[..., None].repeat(cell.prompts, -1)
        if isinstance(cell, TurnCell):
            results[cell] = [{"fall": pack_array(shift / 4), "rise": pack_array(3 * shift / 4)}]
        else:
            results[cell] = [
                {
                    "shift": pack_array(shift),
                    "damage": pack_array(0 * shift[..., 0]),
                    "length": 8,
                }
            ]
    return results


def neurons_of(model: Model, cells: list[Cell]) -> list[str]:
    found = []
    for cell in cells:
        assert isinstance(cell, TurnCell | DosedCell)
        columns = cell.columns or range(model.neurons.widths[cell.layer])
        found += [str(model.neurons.at(cell.layer, column)) for column in columns]
    return found


def test_stages_narrow_and_never_use_a_prompt_twice(
    llama: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (
        Stage(1, 0.45, 1.0, 0),
        Stage(2, 0.45, 1 / 8, 24),
        Stage(1, 0.3, 1 / 16, 8, 16, generic=2),
        Stage(2, 0.3, 1 / 32, 4, generic=3, whole=True),
    )
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", stages)
    monkeypatch.setattr("controlwindow.screens.causal.LEFT_BEHIND", 40)
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    entered, used = [], 0
    # Every neuron's gain is its number; the best branch is −1.
    for stage in stages:
        cells = list(planner.next_cells())
        entered.append(neurons_of(llama, cells))
        assert {type(cell) for cell in cells} == {DosedCell if stage.generic else TurnCell}
        assert {(cell.first, cell.prompts, cell.coordinate) for cell in cells} == {
            (used, stage.prompts, stage.coordinate)
        }
        if stage.generic:
            assert {cell.positions for cell in cells} == {"all" if stage.whole else "generated"}
            assert {cell.generic for cell in cells} == {stage.generic}
        planner.update(answered(llama, cells, lambda layer, columns: 48 * layer + columns))
        used += stage.prompts
    assert planner.next_cells() == []
    names = [str(neuron) for neuron in llama.neurons]
    assert entered[0] == names
    # The best 24 and of the others, by layer, one in 40 but at least one: 1 of 48, 1 of 48 and 1 of 24.
    assert entered[1][-24:] == names[-24:]
    assert [Neuron.parse(name).layer for name in entered[1][:-24]] == [0, 1, 2]
    assert entered[2] == names[-9:]
    assert entered[3] == names[-4:]
    table = planner.table()
    assert table["neuron"].to_list()[:24] == names[:-25:-1]
    assert set(table["sign"]) == {-1}
    assert set(table["coherence"][:47]) == {1.0}
    assert table["stage"].to_list()[:25] == [4] * 4 + [3] * 5 + [2] * 16
    by_name = dict(table.select("neuron", "inclusion").iter_rows())
    assert by_name[names[-1]] == 1.0
    assert by_name[names[0]] == pytest.approx(1 / 48)
    assert by_name[names[-25]] == pytest.approx(1 / 24)
    assert planner.notes == [
        "of the 9 neurons that went on, the first stage had kept 9; of 3 drawn at random from those it left behind, "
        "0 would have gone on: it keeps an estimated 100% [10%, 100%]"
    ]


def test_one_that_was_drawn_at_random_may_come_first(
    llama: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (Stage(1, 0.45, 1.0, 0), Stage(1, 0.45, 1 / 8, 24), Stage(1, 0.3, 1 / 16, 8, generic=2))
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", stages)
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    planner.update(answered(llama, list(planner.next_cells()), lambda layer, columns: 48 * layer + columns))
    drawn = neurons_of(llama, list(planner.next_cells()))[0]

    def gain(layer: int, columns: np.ndarray) -> np.ndarray:
        return np.array([900 if str(Neuron(layer, int(c))) == drawn else c for c in columns])

    for _ in range(2):
        planner.update(answered(llama, list(planner.next_cells()), gain))
    assert planner.table()["neuron"][0] == drawn
    assert "1 would have gone on" in planner.notes[0]


def test_the_stage_reached_ranks_above_the_score(
    llama: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = (Stage(1, 0.3, 1.0, 0, generic=1), Stage(1, 0.3, 1 / 100, 2, generic=1))
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", two)
    monkeypatch.setattr("controlwindow.screens.causal.LEFT_BEHIND", 10_000)
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    for step in (1.0, -1.0):
        cells = list(planner.next_cells())
        planner.update(answered(llama, cells, lambda layer, columns, step=step: step * (100 + 48 * layer + columns)))
    # Those that went on did badly there, the random ones among them, and still come before those left behind.
    names = planner.table()["neuron"].to_list()
    assert {"L2.N46", "L2.N47"} < set(names[:5])
    assert names[5] == "L2.N45" or "L2.N45" in names[:5]


def test_the_last_places_go_in_turns_by_whole_answers_and_by_one_token(
    llama: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (Stage(1, 0.45, 1.0, 0), Stage(1, 0.3, 1 / 8, 18, generic=1), Stage(1, 0.3, 1 / 100, 5, generic=1))
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", stages)
    monkeypatch.setattr("controlwindow.screens.causal.draw_remainder", nobody_drawn)
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    planner.update(answered(llama, list(planner.next_cells()), lambda layer, columns: 48 * layer + columns))
    # By one token the best is L2.N47, by whole answers L2.N30.
    for _ in range(2):
        planner.update(answered(llama, list(planner.next_cells()), lambda layer, columns: -columns))
    assert planner.table()["neuron"].to_list()[:8] == [
        "L2.N30", "L2.N47", "L2.N31", "L2.N46", "L2.N32", "L2.N33", "L2.N34", "L2.N35"
    ]  # fmt: skip


def nobody_drawn(layers: np.ndarray, *_: object) -> Remainder:
    return Remainder(np.array([], dtype=np.int64), np.ones(len(layers)))


def test_the_larger_of_two_standardised_shifts_counts(llama: Model, behavior: Behavior) -> None:
    """The wide stages take the fall of the source answer, or its odds against the target, whichever stands out more."""
    planner = find_screen("causal")(llama, behavior, generic_pass(llama))
    generator = np.random.default_rng(0)
    fall, rise = generator.normal(size=(2, len(llama.neurons), 2))
    rise *= 3
    results = {}
    for cell in planner.next_cells():
        chosen = slice(48 * cell.layer, 48 * (cell.layer + 1))
        results[cell] = [{"fall": pack_array(fall[chosen, :, None]), "rise": pack_array(rise[chosen, :, None])}]
    planner.update(results)
    odds = fall + rise
    heights = [(values - np.median(values)) / np.std(values) for values in (odds, fall)]
    assert np.allclose(planner.scores(), np.maximum(*heights).max(1))
    assert np.array_equal(planner.signs(), np.where(np.maximum(*heights).argmax(1) == 0, 1, -1))


def alone(model: Model, ids: list[int], text: tuple[int, ...], operation: Add | None) -> tuple[float, torch.Tensor]:
    """Log-likelihood of a text after a prompt, and its next-token log-probabilities, in one whole pass."""
    tokens = torch.tensor([[*ids, *text]])
    with measuring(model), Intervention(model, [() if operation is None else (operation,)]) as intervention:
        intervention.first_generated = len(ids) - 1
        logits = model.hf_model(tokens, use_cache=False).logits[0, len(ids) - 1 : -1]
    scores = logits.double().log_softmax(-1)
    return float(scores[range(len(text)), list(text)].sum()), scores


def test_one_token_under_a_dose_is_read_where_the_answers_turn_apart(gpt2: Model, behavior: Behavior) -> None:
    """One neuron of the first stage, whole pass by whole pass."""
    generic, neuron = generic_pass(gpt2), Neuron(1, 7)
    planner = find_screen("causal")(gpt2, behavior, generic)
    cell = next(cell for cell in planner.next_cells() if cell.layer == neuron.layer)
    assert isinstance(cell, TurnCell)
    bench = Engine(gpt2, {behavior.name: behavior}, generic, Ledger())
    row = bench.run([cell])[cell][0]
    prompt = behavior.contrast("find").positive[0]
    ids = gpt2.token_ids([prompt.text])[0]
    texts = [tuple(gpt2.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in behavior.log_odds.target]
    source = greedy(gpt2, ids, 8)
    target = max(texts, key=lambda text: alone(gpt2, ids, text, None)[0] / len(text))
    shared = next(i for i, pair in enumerate(zip(source, target, strict=False)) if pair[0] != pair[1])
    read = [*ids, *source[:shared]]
    for place, sign in enumerate((1, -1)):
        dose = Dose(neuron, sign * max(generic.curve(gpt2, neuron, sign).dose(cell.coordinate), 0.1), "generated")
        add = Add(neuron, dose.alpha(gpt2), "generated")
        before, after = (alone(gpt2, read, (source[shared],), o)[1][0] for o in (None, add))
        for name, token, way in (("fall", source[shared], -1), ("rise", target[shared], 1)):
            found = unpack_array(row[name])
            assert found.shape == (gpt2.neurons.widths[1], 2, 1)
            assert found[neuron.index, place, 0] == pytest.approx(way * float((after - before)[token]), abs=1e-3)


def test_over_whole_answers_the_gain_is_the_shift_of_the_log_odds_less_the_damage(
    gpt2: Model, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One neuron of a narrow stage, whole pass by whole pass."""
    stage = Stage(2, 0.3, 1.0, 0, generic=1)
    monkeypatch.setattr("controlwindow.screens.causal.STAGES", (stage,))
    generic, neuron = generic_pass(gpt2), Neuron(1, 7)
    found = run_screen(gpt2, behavior, "causal")
    sides = behavior.contrast("find").positive
    texts = [tuple(gpt2.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in behavior.log_odds.target]
    curve = {sign: generic.curve(gpt2, neuron, sign) for sign in (1, -1)}
    gains = {}
    for sign in (1, -1):
        dose = Dose(neuron, sign * max(curve[sign].dose(stage.coordinate), 0.1), "generated")
        add = Add(neuron, dose.alpha(gpt2), "generated")
        shifts, length = [], 0
        for prompt in sides[: stage.prompts]:
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
