"""The search for strengths that match a rate, on responders whose whole curve is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlwindow.cells import InterventionCell
from controlwindow.interventions.matching import ROUNDS, SCOUTS, TOLERANCE, MatchingSearch
from controlwindow.interventions.methods import (
    COARSE_LADDER,
    LADDER,
    SHARES,
    Arm,
    Reference,
    Setting,
    neuron_arms,
    residual_arms,
)

PROMPTS = tuple(f"select.p{place:03d}" for place in range(32))
LEVELS = (0.25, 0.5, 0.75, 0.9)
Curve = Callable[[InterventionCell], tuple[float, float]]


def answer(cell: InterventionCell, curve: Curve) -> list[dict[str, object]]:
    """Rows in which so many of the prompts flip and so many of the others collapse, the first ones first."""
    rate, collapsed = curve(cell)
    n = len(cell.prompts)
    flips, falls = round(rate * n), round(collapsed * n)
    outcomes = ["switched"] * flips + ["collapsed"] * falls
    outcomes += ["unswitched"] * (n - len(outcomes))
    return [{"prompt": p, "outcomes": {"8": outcome}} for p, outcome in zip(cell.prompts, outcomes, strict=True)]


def searched(arm: Arm, curve: Curve, levels: tuple[float, ...] = LEVELS) -> tuple[MatchingSearch, int]:
    """A finished search, and how many rounds it took."""
    search = MatchingSearch(arm, "mode", PROMPTS, levels, 8, frozenset({"switched"}))
    rounds = 0
    while cells := search.next_cells():
        assert len(set(cells)) == len(cells)
        assert not any(cell in search.readings for cell in cells)
        search.update({cell: answer(cell, curve) for cell in cells})
        rounds += 1
        assert rounds < 30
    return search, rounds


def dose() -> Arm:
    (arm,) = neuron_arms("L1.N3", 2.0, 0.0, ("add",), "generated", None)
    return arm


def test_each_level_is_met_on_the_way_up() -> None:
    def curve(cell: InterventionCell) -> tuple[float, float]:
        # Only the negative branch acts; from a strength of 2 on the text falls apart, and the rate comes down again.
        t = -cell.strength / 2.0
        return (0.0, 0.0) if t <= 0 else (min(1.0, t), 0.0) if t < 2 else (0.4, 0.6)

    search, rounds = searched(dose(), curve)
    assert search.setting == Setting(-1)
    assert rounds <= 2 + ROUNDS
    for match in search.matches():
        assert match.matched
        assert match.highest == 1.0
        assert abs(match.rate - match.level) <= 0.5 / 32 + 1e-9
        assert match.strength == pytest.approx(match.level, abs=0.03)
        assert match.n == 32
    assert [strength for strength, _ in search.curve()] == sorted(strength for strength, _ in search.curve())


def test_a_level_that_no_strength_reaches_is_not_matched() -> None:
    search, _ = searched(dose(), lambda cell: (min(0.4, abs(cell.strength) / 4), 0.0))
    matched = {match.level: match.matched for match in search.matches()}
    assert matched == {0.25: True, 0.5: True, 0.75: False, 0.9: False}
    worst = search.matches()[-1]
    assert worst.rate == worst.highest == pytest.approx(13 / 32)
    assert 0.9 - worst.rate > TOLERANCE


def test_a_jump_over_a_level_is_not_matched_by_what_lies_beyond_collapse() -> None:
    def curve(cell: InterventionCell) -> tuple[float, float]:
        t = abs(cell.strength) / 2.0
        return (0.0, 0.0) if t < 0.55 else (1.0, 0.0) if t < 1.2 else (0.5, 0.5)

    search, _ = searched(dose(), curve)
    matches = {match.level: match for match in search.matches()}
    assert not matches[0.5].matched
    assert matches[0.9].matched
    assert all(match.strength < 1.2 for match in matches.values())


def test_nothing_that_acts_gives_no_match_and_ends() -> None:
    search, rounds = searched(dose(), lambda cell: (0.0, 0.0))
    assert not any(match.matched for match in search.matches())
    assert rounds == 2


def test_the_layer_is_the_one_that_goes_furthest_and_falls_apart_least() -> None:
    rates = {0: (0.5, 0.0), 1: (0.9, 0.1), 2: (0.9, 0.0), 3: (0.9, 0.0)}

    def curve(cell: InterventionCell) -> tuple[float, float]:
        assert cell.layer is not None
        rate, collapsed = rates[cell.layer]
        return (rate if cell.strength > 0 else 0.0), collapsed

    (arm,) = residual_arms((1.0, 2.0, 3.0, 4.0), ("mean_difference",), "all")
    search, _ = searched(arm, curve)
    assert search.setting == Setting(1, 2)
    scouted = [cell for cell in search.readings if cell.prompts == PROMPTS[:SCOUTS]]
    assert len(scouted) == 4 * 2 * len(COARSE_LADDER)
    assert {cell.layer for cell in search.readings if cell.prompts == PROMPTS} == {2}


def test_strengths_are_in_units_of_what_is_pushed() -> None:
    arms = {
        arm.method: arm
        for arm in neuron_arms("L1.N3", 2.0, 0.5, ("add", "ablate", "pin", "anchor"), "generated", Reference(0.8, 3))
    }
    assert arms["add"].raw(Setting(-1), 0.25) == -0.5
    # Pinned values begin where the neuron is anyway.
    assert arms["pin"].raw(Setting(-1), 0.25) == 0.0
    assert arms["ablate"].raw(Setting(), 0.75) == 0.75
    assert arms["ablate"].ladder == SHARES
    assert arms["add"].ladder == LADDER
    assert arms["anchor"].settings == (Setting(-1, None, 1), Setting(-1, None, 2))
    cell = arms["anchor"].rollouts("mode", "select", Setting(-1, None, 2), 0.5, 8, ("select.p001",))
    assert (cell.method, cell.strength, cell.gap, cell.multiple, cell.suffix) == ("anchor", -1.0, 0.8, 2, 3)
    assert cell.positions == "all"
    assert arms["add"].rollouts("mode", "select", Setting(1), 1.0, 8).positions == "generated"
    addition, ablation = residual_arms((1.0, 2.0), ("mean_difference", "directional_ablation"), "all")
    assert addition.raw(Setting(-1, 1), 0.5) == -1.0
    assert ablation.raw(Setting(1, 1), 0.5) == 0.5
    assert addition.kind == ablation.kind == "residual"
    (control,) = residual_arms((1.0,), ("mean_difference",), "all", "mode.shuffled0")
    assert control.kind == "control"
    assert control.rollouts("mode", "select", Setting(1, 0), 1.0, 8).source == "mode.shuffled0"
    assert control.name == "mean difference (control)"


@pytest.mark.parametrize(("gap", "sign"), [(0.7, -1), (-0.7, 1)])
def test_an_anchor_pushes_against_its_gap_or_is_left_out(gap: float, sign: int) -> None:
    (arm,) = neuron_arms("L1.N3", 2.0, 0.0, ("anchor",), "all", Reference(gap, 1))
    assert {setting.sign for setting in arm.settings} == {sign}
    assert neuron_arms("L1.N3", 2.0, 0.0, ("anchor",), "all", Reference(0.0, 1)) == []
    assert neuron_arms("L1.N3", 2.0, 0.0, ("anchor",), "all", None) == []
