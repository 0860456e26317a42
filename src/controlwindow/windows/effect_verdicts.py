"""Whether a window is open, given that the neuron has the effect at all (ours).

Most neurons never say the target, so "closed" is nearly always right of all neurons, and says nothing of the law. Of a
neuron that says the target at some dose, coherent or not, it is a question which comes first, target or collapse. The
chance of the target coming first is a logistic regression on what is known without a rollout: how far the predicted
ceiling lies above the teacher-forced flip in log dose, whether there is a flip, the chance that no dose collapses the
text, and the behavior's class; a calibrated model adds an offset of its own, shrunk towards nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from controlwindow import geometry
from controlwindow.windows.predictors import PredictedCeiling
from controlwindow.windows.triggers import BehaviorClass

Floats = NDArray[np.float64]

FEATURES = ("intercept", "gap", "no_flip", "no_ceiling_no_flip", "no_ceiling_flip", "refusal", "task")
"""What the regression reads, in the order of its coefficients."""

LEAST_PAIRS = 16
"""Fewest calibration pairs with an effect from which anything is learnt."""

_PENALTY, _MODEL_PENALTY = 0.1, 1.0
"""Ridge penalties of a coefficient and of a model's offset, chosen on calibration pairs of lineages left out."""

_GAPS = (-1.5, 3.0)
_DOSES = (1e-3, 0.9999)


@dataclass(frozen=True)
class Clues:
    """What is known of a pair before any rollout.

    Attributes:
        ceiling: Its predicted ceiling.
        limit: The largest c that a search asks for.
        flip: c of its teacher-forced flip; None where there is none.
        behavior_class: The behavior's class.
    """

    ceiling: PredictedCeiling
    limit: float
    flip: float | None
    behavior_class: BehaviorClass

    def values(self) -> list[float]:
        """The features, in the order of `FEATURES`."""
        missing = self.flip is None
        gap = 0.0
        if self.flip is not None:
            top = self.limit if self.ceiling.value is None else self.ceiling.value
            gap = min(max(_log_dose(top) - _log_dose(self.flip), _GAPS[0]), _GAPS[1])
        unreached = self.ceiling.probability_not_reached
        return [
            1.0,
            gap,
            float(missing),
            unreached if missing else 0.0,
            0.0 if missing else unreached,
            float(self.behavior_class == "refusal"),
            float(self.behavior_class == "task"),
        ]


@dataclass(frozen=True)
class EffectObservation:
    """A calibration pair with an effect: its clues, its model, and whether its window was measured open."""

    fingerprint: str
    clues: Clues
    open: bool


@dataclass(frozen=True)
class EffectVerdicts:
    """The fitted regression.

    Attributes:
        coefficients: By name of `FEATURES`; empty where nothing was learnt.
        models: Offset of each calibrated model by fingerprint.
        pairs: Calibration pairs with an effect.
    """

    coefficients: dict[str, float]
    models: dict[str, float]
    pairs: int

    def probability(self, clues: Clues, fingerprint: str | None = None) -> float:
        """Chance that the window is open, given an effect; by the flip alone where nothing was learnt.

        Example:
            >>> clues = Clues(PredictedCeiling(0.8, 0.7, 0.9), 0.98, 0.3, "switch")
            >>> EffectVerdicts({}, {}, 0).probability(clues)
            1.0
        """
        if not self.coefficients:
            top = clues.limit if clues.ceiling.value is None else clues.ceiling.value
            return float(clues.flip is not None and clues.flip < top)
        score = self.models.get(fingerprint or "", 0.0)
        score += sum(self.coefficients[name] * value for name, value in zip(FEATURES, clues.values(), strict=True))
        return round(1 / (1 + math.exp(-min(max(score, -30.0), 30.0))), 6)

    def to_record(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {"coefficients": self.coefficients, "models": self.models, "pairs": self.pairs}


def fit_effect_verdicts(observations: Sequence[EffectObservation]) -> EffectVerdicts:
    """Fit the regression. Pure: the same observations give the same coefficients, to six digits.

    Args:
        observations: Calibration pairs with an effect. To judge the result on a lineage, leave its pairs out.
    """
    outcomes = np.array([o.open for o in observations], dtype=np.float64)
    if len(observations) < LEAST_PAIRS or outcomes.min() == outcomes.max():
        return EffectVerdicts({}, {}, len(observations))
    models = sorted({o.fingerprint for o in observations})
    own = [[float(o.fingerprint == model) for model in models] for o in observations]
    design = np.hstack([np.array([o.clues.values() for o in observations]), np.array(own)])
    found = _logistic(design, outcomes).round(6).tolist()
    count = len(FEATURES)
    return EffectVerdicts(
        dict(zip(FEATURES, found[:count], strict=True)), dict(zip(models, found[count:], strict=True)), len(outcomes)
    )


def _logistic(design: Floats, outcomes: Floats) -> Floats:
    """Coefficients of a ridge logistic regression, [columns]; the first column is not shrunk."""
    offsets = design.shape[1] - len(FEATURES)
    penalties = np.array([0.0, *[_PENALTY] * (len(FEATURES) - 1), *[_MODEL_PENALTY] * offsets])

    def loss(b: Floats) -> float:
        score = design @ b
        return float((np.logaddexp(0.0, score) - outcomes * score).sum() + penalties @ b**2)

    def slope(b: Floats) -> Floats:
        return np.asarray(design.T @ (_chance(design @ b) - outcomes) + 2 * penalties * b)

    def curvature(b: Floats) -> Floats:
        chance = _chance(design @ b)
        return np.asarray((design * (chance * (1 - chance))[:, None]).T @ design + 2 * np.diag(penalties))

    start = np.zeros(design.shape[1])
    options = {"gtol": 1e-10}
    return np.asarray(
        optimize.minimize(loss, start, jac=slope, hess=curvature, method="trust-exact", options=options).x
    )


def _chance(score: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(score, -30, 30))))


def _log_dose(coordinate: float) -> float:
    """log t at c0 = 0 of a coordinate, cut to what can be told apart."""
    return math.log(geometry.dose_for(min(max(coordinate, _DOSES[0]), _DOSES[1])))
