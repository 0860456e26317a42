from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.curves import CappedCurve, SaturationCurve
from controlwindow.errors import UsageError
from controlwindow.windows.failure import FAILURE_MODES
from controlwindow.windows.failure_prediction import predict_failure_mode
from controlwindow.windows.features import Subject
from controlwindow.windows.predictors import PredictedCeiling
from controlwindow.windows.triggers import (
    NOTHING_CALIBRATED,
    REPORTED_TRIGGERS,
    PredictedTrigger,
    TriggerObservation,
    behavior_class,
    fit_triggers,
    predict_verdict,
    rate_bin,
    trigger_calibration_from_json,
    trigger_observation_from_json,
)

STORIES = Path(__file__).resolve().parents[2] / "examples" / "stories_dialogue" / "behavior.toml"


def made(count: int = 400, seed: int = 0, lineages: int = 2) -> list[TriggerObservation]:
    """Flips between 0.2 and 0.9, triggers at half the flip plus 0.1 in those that have one, and none without a flip."""
    generator = np.random.default_rng(seed)
    found = []
    for i in range(count):
        flip = float(generator.uniform(0.2, 0.9)) if generator.random() < 0.4 else None
        trigger = None
        if flip is not None and generator.random() < 1.1 - flip:
            trigger = 0.1 + 0.5 * flip + float(generator.normal(0, 0.02))
        found.append(
            TriggerObservation(
                "m", "m", f"lineage {i % lineages}", "language", "switch", f"L0.N{i}", 1, SaturationCurve(0.0), flip,
                trigger, 0.98,
            )
        )  # fmt: skip
    return found


def test_triggers_follow_flips_as_in_the_calibration() -> None:
    fitted, fresh = fit_triggers(made()), made(seed=1)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(0.1, abs=0.02)
    inside = reached = 0
    for o in fresh:
        found = fitted.predict(o.flip, o.curve, o.behavior_class, limit=o.limit)
        if o.flip is None:
            assert found.value is None
            assert found.probability_not_reached > 0.95
            assert found.method == "class_prior"
        elif o.trigger is not None:
            assert found.method == "log_odds_flip"
            assert found.expected == pytest.approx(0.1 + 0.5 * o.flip, abs=0.02)
            inside += found.low <= o.trigger <= found.high
            reached += 1
    assert inside / reached == pytest.approx(0.9, abs=0.06)


def test_rates_are_shares_of_each_bin() -> None:
    fitted, every = fit_triggers(made(4000)), made(4000)
    for place in range(len(fitted.rates)):
        mine = [o.trigger is not None for o in every if rate_bin(o.flip) == place]
        assert fitted.rates[place] == pytest.approx(np.mean(mine), abs=0.02)
    assert fitted.rates[1] > fitted.rates[5]
    assert fitted.controllers == sum(o.trigger is not None for o in every)


def test_few_controllers_leave_the_reported_priors() -> None:
    few = made(12, seed=3)
    assert sum(o.trigger is not None for o in few) < 8
    fitted = fit_triggers(few)
    assert fitted.residuals is None
    for name, value in REPORTED_TRIGGERS.items():
        for calibration in (fitted, NOTHING_CALIBRATED, fit_triggers([])):
            found = calibration.predict(0.4, SaturationCurve(0.0), name, limit=0.98)
            assert found.method == "class_prior"
            assert found.expected == value
            assert found.low < value < found.high
    assert NOTHING_CALIBRATED.predict(None, SaturationCurve(0.0), "switch", limit=0.98).value is None
    assert NOTHING_CALIBRATED.predict(0.4, SaturationCurve(0.0), "switch", limit=0.98).value == 0.3


def test_classes_have_priors_of_their_own() -> None:
    tasks = [
        replace(o, behavior_class="task", trigger=None if o.trigger is None else o.trigger + 0.3, flip=None)
        for o in made(200, seed=5)
    ]
    fitted = fit_triggers([*made(), *tasks])
    switch = fitted.predict(None, SaturationCurve(0.0), "switch", limit=0.98)
    task = fitted.predict(None, SaturationCurve(0.0), "task", limit=0.98)
    assert task.expected - switch.expected == pytest.approx(0.3, abs=0.05)
    assert fitted.predict(None, SaturationCurve(0.0), "refusal", limit=0.98).expected == REPORTED_TRIGGERS["refusal"]


def test_a_trigger_beyond_the_limit_is_not_reached() -> None:
    fitted = fit_triggers(made())
    assert fitted.predict(0.25, SaturationCurve(0.0), "switch", limit=0.98).value is not None
    found = fitted.predict(0.25, SaturationCurve(0.0), "switch", limit=0.2)
    assert found.value is None
    assert found.probability_not_reached > 0.5
    # No dose is needed to be where the residual already is.
    assert fitted.predict(0.25, SaturationCurve(0.4), "switch", limit=0.98).expected == 0.4


def test_calibrations_and_observations_survive_their_files() -> None:
    fitted, every = fit_triggers(made()), made()
    assert trigger_calibration_from_json(fitted.to_json()) == fitted
    assert trigger_calibration_from_json(NOTHING_CALIBRATED.to_json()) == NOTHING_CALIBRATED
    assert [trigger_observation_from_json(json.loads(json.dumps(o.to_json()))) for o in every] == every
    with pytest.raises(UsageError, match="rates"):
        trigger_calibration_from_json('{"priors": {}, "intercept": 0, "slope": 1, "residuals": null}')


def test_behaviors_are_classed_by_what_flips() -> None:
    assert behavior_class(load_behavior("language")) == "switch"
    assert behavior_class(load_behavior("refusal")) == "refusal"
    assert behavior_class(load_behavior(STORIES)) == "task"


def trigger(expected: float, missed: float = 0.0, spread: float = 0.05) -> PredictedTrigger:
    value = None if missed > 0.5 else expected
    return PredictedTrigger(value, expected - spread, expected + spread, missed, expected, expected, "log_odds_flip")


def test_a_verdict_compares_trigger_and_ceiling() -> None:
    ceiling = PredictedCeiling(0.6, 0.5, 0.7)
    assert predict_verdict(ceiling, trigger(0.3)) == (True, pytest.approx(1.0, abs=1e-3))
    closed = predict_verdict(ceiling, trigger(0.8))
    assert not closed.open
    assert closed.probability < 0.01
    assert predict_verdict(ceiling, trigger(0.6)).probability == pytest.approx(0.5)
    assert not predict_verdict(ceiling, trigger(0.3, missed=0.9)).open
    assert predict_verdict(ceiling, trigger(0.3, missed=0.9)).probability == pytest.approx(0.1, abs=1e-3)
    assert predict_verdict(PredictedCeiling(None, 0.9, None, 0.8), trigger(0.8)).open


def test_predicted_modes_follow_the_decision_table() -> None:
    capped = CappedCurve(0.0, 0.0, 0.0, 0.0, ffn_length=0.3, limit_length=0.3)
    plain = SaturationCurve(0.0)
    reached, missed = PredictedCeiling(0.6, 0.5, 0.7), PredictedCeiling(None, 0.9, None, 0.8)
    seen = set()
    for curve, moved, ceiling, injected in product(
        (plain, capped), (0.01, 0.5), (reached, missed), (None, trigger(0.25), trigger(0.5), trigger(0.5, missed=0.9))
    ):
        subject = Subject("L1.N1", 1, 1, curve, {}, 0.9, propagation=moved)
        found = predict_failure_mode(subject, ceiling, trigger(0.45, missed=0.9), injected)
        past_norm = 0.45 if injected is None else injected.value
        if curve is capped and past_norm is not None and capped.plateau < past_norm:
            expected = "normalization_cap"
        elif moved < 0.1:
            expected = "too_late"
        else:
            expected = "collapse_before_trigger" if ceiling is reached else "no_effect"
        assert found == expected
        seen.add(found)
    assert seen == set(FAILURE_MODES)
