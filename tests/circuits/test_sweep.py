"""The planner against a model of the world that a test can write down: which neurons matter, and from what strength."""

from __future__ import annotations

from typing import Any

import pytest

from controlwindow.cells import (
    AnswerCell,
    Cell,
    MoveCell,
    OrdinaryCell,
    PushCell,
    RetentionCell,
    SetCell,
    cell_from_key,
    cell_key,
)
from controlwindow.circuits import results
from controlwindow.circuits.controls import CONTROLS, Controls, layer_arms, whole_arms
from controlwindow.circuits.sweep import CircuitSweep, SweepTask

CIRCUIT = ("L1.N4", "L0.N2", "L1.N5")
KEY = "L1.N4"
SELECT, EVALUATE = tuple(f"select.p{i}" for i in range(4)), tuple(f"evaluate.p{i}" for i in range(10))


def task(**changes: Any) -> SweepTask:
    values: dict[str, Any] = {
        "behavior": "mode",
        "factors": (0.5, 0.0, -1.0),
        "horizon": 8,
        "ordinary_horizon": 6,
        "positions": "all",
        "source": "unswitched",
        "targets": frozenset({"switched"}),
        "select": SELECT,
        "evaluate": EVALUATE,
        "seeds": 2,
    }
    return SweepTask(**{**values, **changes})


def controls(**changes: Any) -> Controls:
    values: dict[str, Any] = {
        "random": (("L0.N7", "L1.N0", "L1.N1"), ("L0.N8", "L1.N2", "L1.N3")),
        "shuffled": (("L2.N1", "L0.N5", "L0.N6"), (KEY, "L2.N2", "L2.N3")),
    }
    return Controls(**{**values, **changes})


def answer(cell: Cell) -> list[dict[str, Any]]:
    """Whoever scales the key neuron to 0 flips every prompt, to below 0 all but two of them; a push collapses."""
    match cell:
        case SetCell() | PushCell():
            prompts = EVALUATE if cell.split == "evaluate" else SELECT
            assert cell.prompts == prompts
            broken = isinstance(cell, PushCell) and sum(cell.sizes) > 2
            hit = KEY in getattr(cell, "neurons", ())
            rows = []
            for place, prompt in enumerate(prompts):
                flips = hit and (cell.factor == 0 or (cell.factor < 0 and place > 1))
                outcome = "collapsed" if broken else "switched" if flips else "unswitched"
                rows.append({"prompt": prompt, "outcomes": {"4": "unswitched", "8": outcome}})
            return rows
        case MoveCell():
            size = 1 - cell.factor
            return [{"layers": [0, 1], "sizes": [0.1 * size, 1.0 * size]}]
        case AnswerCell():
            shift = 6.0 * (KEY in cell.neurons) * (0.5 if cell.hold_attention else 1.0)
            return [{"prompt": p, "shift": shift + place, "target": 0, "source": 0} for place, p in enumerate(EVALUATE)]
        case RetentionCell():
            return [
                {
                    "text": i,
                    "tokens": 1 + i,
                    "excess": 0.1 * i,
                    "agreement": 0.5,
                    "first_agrees": i > 0,
                    "divergence": 0.2,
                }
                for i in range(4)
            ]
        case OrdinaryCell():
            return [{"text": i, "same": i > 1, "common": 0.5, "excess": 0.25, "collapsed": i == 0} for i in range(4)]
    raise AssertionError(cell)


def finished(sweep: CircuitSweep) -> list[list[Cell]]:
    """Runs a sweep; returns its rounds."""
    rounds = []
    while cells := list(sweep.next_cells()):
        assert len(set(cells)) == len(cells)
        assert not set(cells) & sweep.rows.keys(), "a cell was asked for twice"
        sweep.update({cell: answer(cell) for cell in cells})
        rounds.append(cells)
    return rounds


@pytest.fixture
def sweep() -> CircuitSweep:
    found = CircuitSweep(task(), CIRCUIT, controls())
    finished(found)
    return found


def test_nothing_is_reported_on_before_the_strength_is_chosen() -> None:
    first, second = finished(CircuitSweep(task(), CIRCUIT, controls()))
    assert {type(cell) for cell in first} == {MoveCell, SetCell}
    assert {cell.split for cell in first} == {"select"}
    assert {cell.split for cell in second} == {"evaluate"}
    assert {cell.factor for cell in first if isinstance(cell, SetCell)} == {0.5, 0.0, -1.0}


def test_the_strength_is_the_one_that_flips_most_on_the_select_prompts(sweep: CircuitSweep) -> None:
    assert sweep.factor == 0.0
    chosen = results.choice(sweep)
    assert chosen == {"factor": 0.0, "from": "select", "prompts": 4, "flips": [0.0, 1.0, 0.5]}


def test_equal_flips_choose_the_weakest_change() -> None:
    sweep = CircuitSweep(task(factors=(-1.0, -0.5, 0.5)), CIRCUIT, controls())
    finished(sweep)
    assert results.choice(sweep)["flips"] == [0.5, 0.5, 0.0]
    assert sweep.factor == -0.5


@pytest.mark.parametrize(("factors", "looked_into"), [((0.5, 0.0, -1.0), 0.0), ((0.5, -1.0), 0.5)])
def test_a_circuit_that_flips_nothing_is_looked_into_under_ablation(factors, looked_into) -> None:
    sweep = CircuitSweep(task(factors=factors), ("L0.N1",), controls())
    finished(sweep)
    assert sweep.factor == looked_into
    chosen = results.choice(sweep)
    assert chosen["flips"] == [0.0] * len(factors)
    assert "no strength flips a select prompt" in chosen["from"]


def test_without_select_prompts_the_strength_is_ablation_and_moves_are_measured_all_the_same() -> None:
    sweep = CircuitSweep(task(select=()), CIRCUIT, controls())
    first, _ = finished(sweep)
    assert {type(cell) for cell in first} == {MoveCell}
    assert (sweep.factor, results.choice(sweep)["prompts"]) == (0.0, 0)
    assert "no select prompts" in results.choice(sweep)["from"]


def test_a_given_strength_is_not_chosen_again() -> None:
    sweep = CircuitSweep(task(factor=-1.0), CIRCUIT, controls())
    rounds = finished(sweep)
    assert not any(isinstance(cell, SetCell) and cell.split == "select" for cells in rounds for cell in cells)
    assert sweep.factor == -1.0


def test_pushes_are_as_long_as_the_move_of_the_circuit_at_that_strength(sweep: CircuitSweep) -> None:
    pushes = [cell for cell in sweep.rows if isinstance(cell, PushCell)]
    assert len(pushes) == 3 * 2, "each strength and seed"
    for cell in pushes:
        assert cell.layers == (0, 1)
        assert cell.sizes[1] == pytest.approx(10 * cell.sizes[0])
    assert {round(cell.sizes[1], 6) for cell in pushes} == {0.5, 1.0, 2.0}
    assert {cell.seed for cell in pushes} == {0, 1}


def test_every_arm_is_at_every_strength_with_its_cost(sweep: CircuitSweep) -> None:
    undosed = [{"prompt": p, "outcomes": {"4": "unswitched", "8": "unswitched"}} for p in EVALUATE]
    ladder = results.ladder(sweep, undosed, 0)
    assert [(e["arm"], e["factor"]) for e in ladder] == [
        ("undosed", 1.0),
        *((arm, f) for arm in ("circuit", "random", "shuffled", "attention") for f in (0.5, 0.0, -1.0)),
    ]
    entries = {(e["arm"], e["factor"]): e for e in ladder}
    assert entries["circuit", -1.0]["flip"]["value"] == pytest.approx(0.8)
    assert entries["circuit", -1.0]["outcomes"]["8"] == {"switched": 0.8, "unswitched": 0.2}
    assert entries["circuit", -1.0]["outcomes"]["4"] == {"unswitched": 1.0}
    assert entries["shuffled", 0.0]["flip"]["by_seed"] == [0.0, 1.0], "one shuffled draw holds the key neuron"
    assert entries["random", 0.0]["flip"]["value"] == 0
    assert entries["attention", -1.0]["coherent"]["value"] == 0
    assert entries["undosed", 1.0]["source"]["value"] == 1
    for (arm, factor), entry in entries.items():
        if arm == "undosed":
            continue
        # Excess 0, 0.1, 0.2, 0.3 of texts of 1, 2, 3, 4 tokens.
        assert entry["retention"]["excess"]["value"] == pytest.approx((0.2 + 0.6 + 1.2) / 10)
        assert entry["retention"]["first_agrees"]["value"] == 0.75
        assert (entry["quality"] is None) == (arm != "circuit" and factor != 0.0)
    assert entries["random", 0.0]["quality"]["coherent"]["value"] == 0.75


def test_controls_are_tested_and_corrected_over_the_ladder(sweep: CircuitSweep) -> None:
    tests = {(t["against"], t["factor"]): t for t in results.tests(sweep, 0)}
    assert len(tests) == 9
    best = tests["random", 0.0]
    assert best["difference"] == 1.0
    assert best["p"] == pytest.approx(2 / 2**10)
    assert best["p_holm"] == pytest.approx(3 * best["p"])
    assert (best["seeds_below"], best["seeds"], best["candidates"]) == (2, 2, 3)
    assert tests["shuffled", 0.0]["seeds_below"] == 1
    assert tests["random", 0.5]["p_holm"] == 1


def test_an_effect_that_may_be_none_has_no_direct_share() -> None:
    sweep = CircuitSweep(task(), CIRCUIT, controls())
    while cells := list(sweep.next_cells()):
        rows = {cell: answer(cell) for cell in cells}
        for cell in rows:
            if isinstance(cell, AnswerCell):
                rows[cell] = [{**row, "shift": row["shift"] - 10.5} for row in rows[cell]]
        sweep.update(rows)
    circuit = next(e for e in results.effects(sweep, 0) if e["arm"] == "circuit")
    assert circuit["shift"]["interval"][0] < 0 < circuit["shift"]["interval"][1]
    assert circuit["direct_share"] is None


def test_the_direct_share_is_what_is_left_with_attention_held(sweep: CircuitSweep) -> None:
    effects = {e["arm"]: e for e in results.effects(sweep, 0)}
    assert effects["circuit"]["shift"]["value"] == pytest.approx(6 + 4.5)
    assert effects["circuit"]["held"]["value"] == pytest.approx(3 + 4.5)
    assert effects["circuit"]["direct_share"] == pytest.approx(7.5 / 10.5)
    assert effects["attention"]["held"] is None, "a push of attention is nothing but attention"


def test_layers_are_told_apart(sweep: CircuitSweep) -> None:
    low, high = results.layers(sweep, 0)
    assert (low["layer"], low["neurons"], high["share"]) == (0, 1, pytest.approx(2 / 3))
    assert (low["alone"]["flip"]["value"], low["all_but"]["flip"]["value"]) == (0, 1)
    assert (high["alone"]["flip"]["value"], high["all_but"]["flip"]["value"]) == (1, 0)
    assert high["random"]["flip"]["by_seed"] == [0, 0]
    assert high["test"]["p_holm"] == pytest.approx(2 * high["test"]["p"])
    assert low["test"]["p_holm"] == 1


def test_a_circuit_in_one_layer_has_no_rest() -> None:
    sweep = CircuitSweep(task(), ("L1.N4", "L1.N5"), controls())
    finished(sweep)
    (only,) = results.layers(sweep, 0)
    assert only["all_but"] is None


def test_random_parts_are_as_large_as_those_of_the_circuit() -> None:
    arms = layer_arms(CIRCUIT, controls())
    for layer in (0, 1):
        sizes = {arm.part: len(arm.neurons) for arm in arms if arm.layer == layer}
        assert sizes["alone"] == sizes["random"]
        assert sizes["alone"] + sizes["all_but"] == len(CIRCUIT)


def test_a_missing_control_is_marked_and_not_asked_for() -> None:
    known = controls(shuffled=(), missing={"shuffled": "no labels", "attention": "no attention"})
    arms = whole_arms(CIRCUIT, known, 2)
    assert {arm.kind for arm in arms} == {"circuit", "random"}
    assert not known.complete
    assert "shuffled (no labels)" in known.mark()
    assert [row["control"] for row in known.status() if not row["measured"]] == ["shuffled", "attention"]
    assert Controls.from_json(known.to_json()) == known
    assert controls().mark() == ""
    assert [row["control"] for row in controls().status()] == list(CONTROLS)


def test_without_target_answers_no_shift_is_asked_for() -> None:
    sweep = CircuitSweep(task(answers=False), CIRCUIT, controls())
    rounds = finished(sweep)
    assert not any(isinstance(cell, AnswerCell) for cells in rounds for cell in cells)
    assert results.effects(sweep, 0) == []


def test_cells_survive_their_key(sweep: CircuitSweep) -> None:
    for cell in sweep.rows:
        assert cell_from_key(cell_key(cell)) == cell


def test_models_are_compared_by_outcomes_that_change(sweep: CircuitSweep) -> None:
    undosed = [
        {"prompt": p, "outcomes": {"4": "unswitched", "8": "switched" if i < 5 else "unswitched"}}
        for i, p in enumerate(EVALUATE)
    ]
    changed = {row["arm"]: row["changed"]["value"] for row in results.changed(sweep, undosed, 0)}
    assert changed["circuit"] == 0.5, "half of them said it anyway"
    assert changed["random"] == 0.5, "and those now do not"
    assert changed["attention"] == 0.5
