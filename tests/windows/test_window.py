from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from responders import drive, drive_rows, rows_for, rows_of, search_for, spread, window

from controlwindow.behaviors.definition import Behavior, BehaviorDefinition
from controlwindow.behaviors.loading import assemble as assemble_behavior
from controlwindow.cells import RolloutCell
from controlwindow.curves import CappedCurve
from controlwindow.geometry import control_coordinate
from controlwindow.statistics import wilson_interval
from controlwindow.windows.failure import FAILURE_MODES, RECOMPUTED, Reasons, failure_mode
from controlwindow.windows.search import WindowSearch
from controlwindow.windows.window import Window, assemble, injection_search, read_search

PREDICTION = {
    "values": {"constant": (0.7, 0.6, 0.8), "probe_curve": (0.72, 0.65, 0.79), "participation_ratio": None},
    "default": "probe_curve",
    "residual_norm": 10.0,
    "write_norm": 4.0,
}


@pytest.fixture(scope="module")
def behavior(tmp_path_factory: pytest.TempPathFactory) -> Behavior:
    definition = BehaviorDefinition.model_validate(
        {
            "name": "mode",
            "horizons": [8, 16],
            "oracles": {"target": {"type": "regex", "pattern": "x"}},
            "prompts": {"evaluate": [f"evaluate {number}" for number in range(16)]},
        }
    )
    return assemble_behavior(definition, Path(tmp_path_factory.mktemp("behavior")) / "mode.toml")


def measure(behavior: Behavior, respond: Any, propagation: float | None = None, **options: Any) -> Window:
    search = search_for(**options)
    drive(search, respond)
    return assemble(search, read_search(search, 0), behavior, PREDICTION, "named", Reasons(propagation), {})


def test_an_open_window_with_its_evidence(behavior: Behavior) -> None:
    respond = window(spread(0.34, 0.1, 16), spread(0.71, 0.1, 16))
    found = measure(behavior, respond, cosine=0.1, branch=-1)
    assert found.open
    assert (found.verdict, found.failure_mode, found.propagation) == ("open", None, None)
    assert found.trigger == pytest.approx(0.34, abs=0.03)
    assert found.ceiling == pytest.approx(0.71, abs=0.03)
    assert control_coordinate(found.trigger_t, 0.1) == pytest.approx(found.trigger)
    assert control_coordinate(found.ceiling_t, 0.1) == pytest.approx(found.ceiling)
    assert found.height == 1.0
    assert found.height_interval == wilson_interval(16, 16)
    assert found.verdict_probability == 1.0
    assert found.decided
    assert found.outcomes["16"] == {"switched": 1.0}
    assert found.trigger < found.outcomes_at < found.ceiling
    assert (found.c0, found.budget, found.residual_norm, found.write_norm) == (0.1, 2.5, 10.0, 4.0)
    assert found.ceiling_predicted == 0.72
    assert found.ceiling_predicted_interval == (0.65, 0.79)
    assert found.predictions == {"constant": 0.7, "probe_curve": 0.72, "participation_ratio": None}
    assert (found.neuron, found.branch, found.behavior, found.n_eligible) == ("L1.N2", -1, "mode", 16)


def test_every_dose_is_told_with_its_interval(behavior: Behavior) -> None:
    found = measure(behavior, window(spread(0.34, 0.1, 16), spread(0.71, 0.1, 16)))
    assert [point.t for point in found.doses] == sorted(point.t for point in found.doses)
    assert found.doses[0].t == 0.0
    for point in found.doses:
        assert sum(point.shares["16"].values()) == pytest.approx(1)
        flips = round(point.shares["16"].get("switched", 0.0) * point.n)
        assert point.target_interval == wilson_interval(flips, point.n)
        assert point.collapsed == point.shares["16"].get("collapsed", 0.0)
        assert point.n in (8, 16)
        assert 0 < point.ties <= 8
        low, high = point.c_measured_interval
        assert low <= point.c_measured <= high
        assert point.c_measured == pytest.approx(point.c, abs=0.02)
    # Both ends of both brackets are measured in full; far below the trigger scouts are enough.
    assert all(sum(point.n == 16 for point in found.doses if abs(point.c - at) < 0.03) >= 2 for at in (0.34, 0.71))
    assert found.doses[1].n == 8


def test_a_trigger_above_the_ceiling_counts_as_not_reached(behavior: Behavior) -> None:
    def respond(c: float) -> list[str]:
        # Ten of sixteen collapse at 0.4; the rest, and some of those, switch later on.
        if c >= 0.9:
            return ["collapsed"] * 16
        if c >= 0.65:
            return ["collapsed"] * 7 + ["switched"] * 9
        return ["collapsed"] * 10 + ["unswitched"] * 6 if c >= 0.4 else ["unswitched"] * 16

    found = measure(behavior, respond, propagation=0.7)
    assert found.verdict == "closed"
    assert found.trigger is None
    assert found.trigger_t is None
    assert found.trigger_interval[1] is None
    assert found.ceiling == pytest.approx(0.4, abs=0.03)
    assert found.failure_mode == "collapse_before_trigger"
    assert found.triggers_by_outcome["switched"]["16"] is None
    assert found.height == pytest.approx(9 / 16)


def test_each_failure_mode_comes_from_its_evidence(behavior: Behavior) -> None:
    nothing, collapse = window(np.full(16, 2.0), np.full(16, 2.0)), window(np.full(16, 2.0), np.full(16, 0.6))
    assert measure(behavior, collapse, propagation=0.5).failure_mode == "collapse_before_trigger"
    assert measure(behavior, collapse, propagation=0.01).failure_mode == "too_late"
    assert measure(behavior, nothing, propagation=0.01).failure_mode == "too_late"
    assert measure(behavior, nothing, propagation=0.5).failure_mode == "no_effect"
    assert measure(behavior, nothing, propagation=None).failure_mode == "no_effect"
    closed = measure(behavior, nothing, propagation=0.5)
    assert (closed.height, closed.trigger, closed.ceiling, closed.verdict_probability) == (0.0, None, None, 0.0)
    assert closed.decided


def test_the_decision_table_in_its_order() -> None:
    reachable, beyond = Reasons(0.9, injected_trigger=0.5), Reasons(0.0, injected_trigger=0.5)
    assert failure_mode(True, beyond, plateau=0.4) == "normalization_cap"
    assert failure_mode(False, reachable, plateau=0.4) == "normalization_cap"
    assert failure_mode(True, beyond, plateau=0.6) == "too_late"
    assert failure_mode(False, reachable, plateau=0.6) == "no_effect"
    assert failure_mode(True, reachable) == "collapse_before_trigger"
    assert failure_mode(True, Reasons(0.9), plateau=0.4) == "collapse_before_trigger"
    for reached in (True, False):
        assert failure_mode(reached, Reasons(RECOMPUTED / 2)) == "too_late"
    assert failure_mode(True, Reasons(RECOMPUTED)) == "collapse_before_trigger"
    assert failure_mode(True, Reasons()) == "collapse_before_trigger"
    assert failure_mode(False, Reasons(RECOMPUTED)) == "no_effect"
    assert failure_mode(False, Reasons()) == "no_effect"
    assert FAILURE_MODES == ("normalization_cap", "too_late", "collapse_before_trigger", "no_effect")


def test_a_close_call_is_not_decided(behavior: Behavior) -> None:
    # Eight of sixteen flip: about half of the bootstrap's samples of prompts stay below half.
    def respond(c: float) -> list[str]:
        if c >= 0.75:
            return ["collapsed"] * 16
        return ["switched"] * 8 + ["other"] * 8 if c >= 0.3 else ["unswitched"] * 16

    found = measure(behavior, respond)
    assert found.open
    assert 0.3 < found.verdict_probability < 0.9
    assert not found.decided
    low, high = found.trigger_interval
    assert low <= found.trigger
    assert high is None


def test_triggers_are_told_by_outcome_and_horizon(behavior: Behavior) -> None:
    search = search_for(fill=True)

    def answer(cell: RolloutCell) -> list[dict[str, Any]]:
        c = search.candidate.coordinate(cell.t)
        late = ["switched" if c >= 0.3 else "unswitched"] * 16
        return rows_for(cell, late, c, ["switched" if c >= 0.6 else "unswitched"] * 16)

    drive_rows(search, answer)
    found = assemble(search, read_search(search, 0), behavior, PREDICTION, "named", Reasons(), {})
    assert set(found.triggers_by_outcome) == {"switched"}
    assert found.triggers_by_outcome["switched"]["16"] == pytest.approx(0.3, abs=0.03)
    # The first horizon is read from the doses that the last one asked for, so it is known to a coarse step.
    assert found.triggers_by_outcome["switched"]["8"] == pytest.approx(0.6, abs=0.1)


def test_sampled_rates_are_told_by_seed(behavior: Behavior) -> None:
    search = search_for()
    drive(search, window(np.full(16, 0.3), np.full(16, 0.8)))
    sampled = {7: rows_of(["switched"] * 4 + ["collapsed"] * 12, 0.5), 8: rows_of(["switched"] * 16, 0.5)}
    found = assemble(search, read_search(search, 0), behavior, PREDICTION, "named", Reasons(), sampled)
    assert found.sampled == {"7": 0.25, "8": 1.0}


def test_a_missing_default_prediction_is_null(behavior: Behavior) -> None:
    search = search_for()
    drive(search, window(np.full(16, 0.3), np.full(16, 0.8)))
    prediction = {**PREDICTION, "default": "participation_ratio"}
    found = assemble(search, read_search(search, 0), behavior, prediction, "named", Reasons(), {})
    assert found.ceiling_predicted is None
    assert found.ceiling_predicted_interval == (None, None)


def test_a_window_survives_json(behavior: Behavior) -> None:
    found = measure(behavior, window(spread(0.34, 0.1, 16), spread(0.71, 0.1, 16)))
    assert Window.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_bootstrap_follows_the_seed() -> None:
    def reading(seed: int) -> float:
        search = search_for()
        drive(search, lambda c: ["switched"] * 8 + ["other"] * 8 if c >= 0.3 else ["unswitched"] * 16)
        return read_search(search, seed).probability

    assert reading(0) == reading(0)
    assert len({reading(seed) for seed in range(4)}) > 1


def capped_search(limit_length: float) -> WindowSearch:
    """A search whose doses cannot pass a plateau."""
    curve = CappedCurve(0.05, 0.1, 0.0, 0.0, ffn_length=0.3, limit_length=limit_length)
    search = search_for()
    return replace(search, candidate=replace(search.candidate, curve=curve))


def measure_capped(behavior: Behavior, limit_length: float, respond: Any, propagation: float | None = 0.7) -> Window:
    """A capped neuron's window as an audit measures it: its own search, and an injection if that finds no trigger."""
    search = capped_search(limit_length)
    drive(search, respond)
    measured = read_search(search, 0)
    injection = injection_search(search, 10.0)
    drive(injection, respond)
    injected = None if measured.open else read_search(injection, 0).trigger.value
    prediction = {**PREDICTION, "values": {"probe_curve": (None, 0.4, None)}, "budget_kind": "capped"}
    return assemble(search, measured, behavior, prediction, "named", Reasons(propagation, injected), {})


def test_a_trigger_that_only_an_injection_past_the_norm_reaches_is_a_cap(behavior: Behavior) -> None:
    respond = window(spread(0.62, 0.1, 16), spread(0.9, 0.05, 16))
    found = measure_capped(behavior, 0.5, respond)
    assert found.plateau == pytest.approx(control_coordinate(0.5, 0.05))
    assert found.failure_mode == "normalization_cap"
    assert found.injected_trigger == pytest.approx(0.62, abs=0.03)
    assert (found.trigger, found.ceiling, found.ceiling_predicted, found.ceiling_reachable) == (None, None, None, False)
    assert found.ceiling_predicted_interval == (0.4, None)
    assert found.budget_kind == "capped"
    assert all(point.c < found.plateau + 0.01 for point in found.doses)
    assert found.c0 == found.doses[0].c == CappedCurve(**{k: v for k, v in found.curve.items() if k != "kind"}).cosine
    assert Window.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_without_a_trigger_past_the_norm_a_cap_is_no_reason(behavior: Behavior) -> None:
    nothing = window(np.full(16, 2.0), np.full(16, 2.0))
    assert measure_capped(behavior, 0.5, nothing).failure_mode == "no_effect"
    assert measure_capped(behavior, 0.5, nothing, propagation=0.01).failure_mode == "too_late"
    # Past the norm the text collapses before it flips.
    assert measure_capped(behavior, 0.5, window(np.full(16, 0.8), np.full(16, 0.6))).failure_mode == "no_effect"


def test_a_capped_neuron_with_a_trigger_below_its_plateau_is_open(behavior: Behavior) -> None:
    found = measure_capped(behavior, 1.2, window(spread(0.4, 0.1, 16), spread(0.72, 0.05, 16)))
    assert found.open
    assert found.trigger == pytest.approx(0.4, abs=0.03)
    assert found.ceiling == pytest.approx(0.72, abs=0.03)
    assert found.plateau > found.ceiling
    curve = capped_search(1.2).candidate.curve
    assert curve.coordinate(found.trigger_t) == pytest.approx(found.trigger)
    assert curve.coordinate(found.ceiling_t) == pytest.approx(found.ceiling)
    assert (found.failure_mode, found.injected_trigger) == (None, None)


def test_an_injection_measures_the_ceiling_no_further_than_its_trigger_needs(behavior: Behavior) -> None:
    respond = window(spread(0.35, 0.1, 16), spread(0.8, 0.3, 16))
    whole, injection = search_for(), injection_search(capped_search(0.5), 10.0)
    drive(whole, respond)
    drive(injection, respond)
    assert sum(map(len, injection.measured.values())) < sum(map(len, whole.measured.values()))
    assert read_search(injection, 0).trigger.value == pytest.approx(0.35, abs=0.03)
    for cell in injection_search(capped_search(0.5), 10.0).next_cells():
        assert isinstance(cell, RolloutCell)
        assert (cell.site, cell.alpha) == ("residual", pytest.approx(10 * cell.t))
