from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from controlwindow import geometry
from controlwindow.windows.effect_verdicts import (
    FEATURES,
    LEAST_PAIRS,
    Clues,
    EffectObservation,
    EffectVerdicts,
    fit_effect_verdicts,
)
from controlwindow.windows.predictors import PredictedCeiling

CEILING = PredictedCeiling(0.8, 0.7, 0.9, 0.05)


def made(count: int = 400, seed: int = 0, shift: float = 0.0) -> list[EffectObservation]:
    """Windows that are open where the flip lies well below the ceiling, more often so in one of two models."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(count):
        flip = float(generator.uniform(0.1, 0.95))
        model = "ab"[place % 2]
        score = 6 * (0.7 - flip) + (shift if model == "b" else -shift)
        opened = generator.random() < 1 / (1 + math.exp(-score))
        found.append(EffectObservation(model, Clues(CEILING, 0.98, flip, "switch"), bool(opened)))
    return found


def test_clues_are_the_gap_in_log_dose_or_that_there_is_no_flip() -> None:
    values = dict(zip(FEATURES, Clues(CEILING, 0.98, 0.4, "refusal").values(), strict=True))
    assert values["gap"] == pytest.approx(math.log(geometry.dose_for(0.8) / geometry.dose_for(0.4)))
    assert (values["no_flip"], values["no_ceiling_flip"], values["refusal"], values["task"]) == (0, 0.05, 1, 0)
    unreached = PredictedCeiling(None, 0.9, None, 0.7)
    values = dict(zip(FEATURES, Clues(unreached, 0.6, None, "task").values(), strict=True))
    assert (values["gap"], values["no_flip"], values["no_ceiling_no_flip"], values["task"]) == (0, 1, 0.7, 1)


def test_early_flips_are_open_and_late_ones_closed() -> None:
    fitted = fit_effect_verdicts(made())
    chances = [fitted.probability(Clues(CEILING, 0.98, flip, "switch")) for flip in (0.2, 0.5, 0.7, 0.9)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.85
    assert chances[-1] < 0.35
    fresh = made(seed=1)
    right = sum((fitted.probability(o.clues) > 0.5) == o.open for o in fresh)
    best = sum(((o.clues.flip or 0.0) < 0.7) == o.open for o in fresh)
    assert right >= 0.95 * best


def test_a_calibrated_model_has_an_offset_of_its_own() -> None:
    fitted = fit_effect_verdicts(made(shift=1.5))
    clues = Clues(CEILING, 0.98, 0.7, "switch")
    assert fitted.probability(clues, "a") + 0.2 < fitted.probability(clues) < fitted.probability(clues, "b") - 0.2
    assert fitted.probability(clues, "unknown") == fitted.probability(clues)


def test_the_fit_is_the_penalised_maximum_likelihood() -> None:
    observations = made(60)
    fitted = fit_effect_verdicts(observations)
    design = np.array([[*o.clues.values(), o.fingerprint == "a", o.fingerprint == "b"] for o in observations], float)
    signs = np.array([1.0 if o.open else -1.0 for o in observations])

    def loss(b: np.ndarray) -> float:
        return float(np.logaddexp(0, -signs * (design @ b)).sum() + 0.1 * (b[1:7] ** 2).sum() + (b[7:] ** 2).sum())

    reference = optimize.minimize(
        loss, np.zeros(9), method="Nelder-Mead", options={"maxiter": 40_000, "maxfev": 40_000}
    )
    found = np.array([*fitted.coefficients.values(), *fitted.models.values()])
    assert loss(found) <= loss(reference.x) + 1e-6


@pytest.mark.parametrize("few", [made(LEAST_PAIRS - 1), [o for o in made() if o.open]])
def test_without_enough_pairs_of_both_kinds_the_flip_alone_speaks(few: list[EffectObservation]) -> None:
    fitted = fit_effect_verdicts(few)
    assert fitted == EffectVerdicts({}, {}, len(few))
    assert [fitted.probability(Clues(CEILING, 0.98, flip, "task")) for flip in (0.7, 0.9, None)] == [1.0, 0.0, 0.0]
