from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlwindow.circuits.evidence import Controls, EffectLine, RolloutLine, _compensated
from controlwindow.circuits.probe import ROLLED_OUT, Setting
from controlwindow.circuits.verdict import classify, predict, topology
from controlwindow.statistics import Interval, holm, sign_flip_p

CONTROLS = Controls(0.05, (0.0, 0.1), 0.0, (0.0,), True)


def rollout(name: str, flips: float, p: float | None = 0.001, controls: Controls = CONTROLS) -> RolloutLine:
    return RolloutLine(
        Setting(name), 32, flips, Interval(0, 1), 1.0, Interval(0.9, 1), {}, 1.0, controls, Interval(0, 1), p, p
    )


def effect(name: str, flips: float, p: float | None = 0.001) -> EffectLine:
    return EffectLine(
        Setting(name), 32, 1.0, Interval(0, 2), 1.0, Interval(0, 2), 1.0, 0.0, Interval(-0.1, 0.1), 1.0, flips, 32,
        CONTROLS, Interval(0, 1), p, p, 0.05, p,
    )  # fmt: skip


def lines(ablate: float, inject: float) -> list[RolloutLine]:
    flips = {"ablate": ablate, "amplify": 0.0, "inject_objective": 0.0, "inject_mean_difference": inject}
    return [rollout(name, flips[name], 0.001 if flips[name] > 0.5 else 0.9) for name in ROLLED_OUT]


OPPOSITION = predict(np.full((8, 2), 0.5), np.ones((8, 2)), 0)
ROUTING = predict(np.full((8, 2), 0.1), np.ones((8, 2)), 0)
BETWEEN = predict(np.full((8, 2), 0.25), np.ones((8, 2)), 0)


@pytest.mark.parametrize(
    ("ablate", "inject", "kind", "agrees"),
    [(0.9, 0.0, "opposition", True), (0.0, 0.9, "routing", False), (0.9, 0.9, "mixed", None), (0, 0, "neither", None)],
)
def test_the_verdict_follows_the_interventions_and_tests_the_ratio(ablate, inject, kind, agrees) -> None:
    found = classify({n: effect(n, 0.0, 1.0) for n in ROLLED_OUT}, lines(ablate, inject), OPPOSITION)
    assert (found.kind, found.measured_on, found.ratio_agrees) == (kind, "generated", agrees)
    assert found.injection_agrees == (inject > 0.5)
    assert found.by_f == "neither"


def test_ratios_predict_by_their_thresholds() -> None:
    assert [r.predicted for r in (OPPOSITION, ROUTING, BETWEEN)] == ["opposition", "routing", "undecided"]
    assert [r.injection_predicted for r in (OPPOSITION, ROUTING, BETWEEN)] == [True, False, False]
    assert classify({n: effect(n, 0.0) for n in ROLLED_OUT}, lines(0.9, 0.0), BETWEEN).ratio_agrees is None
    generator = np.random.default_rng(0)
    ffn, skip = generator.uniform(0.2, 0.5, (40, 2)), np.ones((40, 2))
    found = predict(ffn, skip, 0)
    assert found.ratio == pytest.approx(ffn.mean())
    assert found.interval.low < found.ratio < found.interval.high
    assert 0 < found.probability <= 1


def test_fewer_flips_than_the_controls_move_nothing() -> None:
    worse = Controls(0.9, (0.9,), 0.9, (0.9,), True)
    changed = [replace(line, controls=worse) for line in lines(0.6, 0.0)]
    assert classify({n: effect(n, 0.0) for n in ROLLED_OUT}, changed, OPPOSITION).kind == "neither"


def test_without_controls_nothing_is_concluded() -> None:
    bare = Controls(None, (), None, (), False)
    changed = [replace(line, controls=bare, p=None, p_holm=None) for line in lines(1.0, 1.0)]
    found = classify({n: effect(n, 0.0) for n in ROLLED_OUT}, changed, OPPOSITION)
    assert (found.kind, found.complete) == ("neither", False)


def test_without_rollouts_f_decides_and_is_named() -> None:
    effects = {name: effect(name, 0.9 if name == "ablate" else 0.0, 0.001) for name in ROLLED_OUT}
    found = classify(effects, [], OPPOSITION)
    assert (found.kind, found.measured_on, found.by_f) == ("opposition", "log_odds", "opposition")


def test_concentrated_and_shielded_circuits_are_told_apart() -> None:
    few, many = np.zeros(1000), np.ones(1000)
    few[:4] = 5.0
    few[4:] = 0.01
    taken = replace(effect("ablate", 0.0), compensated=0.8, compensated_interval=Interval(0.7, 0.9))
    alone = replace(effect("ablate", 0.0), compensated=0.1, compensated_interval=Interval(0.0, 0.6))
    assert topology(few, (1, 4), [alone]).kind == "concentrated"
    assert topology(few, (1, 4), [taken]).kind == "concentrated and shielded"
    assert topology(many, (1, 4), [taken]).kind == "shielded"
    spread = topology(many, (1, 4), [alone])
    assert (spread.kind, spread.half, spread.shares) == ("neither", 500, {1: 0.001, 4: 0.004})
    assert spread.effective == pytest.approx(1000)


def test_what_is_taken_back_is_a_ratio_of_means() -> None:
    direct = np.array([2.0, 4.0, 3.0, 1.0])
    value, bounds = _compensated(0.25 * direct, direct, 0)
    assert value == pytest.approx(0.75)
    assert bounds == pytest.approx((0.75, 0.75))
    assert _compensated(direct, np.zeros(4), 0) == (None, None)


def test_holm_and_sign_flips_are_those_of_their_definitions() -> None:
    p = np.array([0.04, 0.01, 0.2, 0.011])
    assert holm(p) == pytest.approx([0.08, 0.04, 0.2, 0.04])
    assert len(holm([])) == 0
    values = np.array([1.0, 2.0, -0.5, 3.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    exact = float((np.abs(signs @ values) >= abs(values.sum()) - 1e-12).mean())
    assert sign_flip_p(values, 0) == pytest.approx(exact)
    assert sign_flip_p(np.ones(40), 0) == pytest.approx(1 / 10000)
    assert sign_flip_p(np.zeros(40), 0) == 1.0
