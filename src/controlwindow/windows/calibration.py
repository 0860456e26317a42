"""Ceiling predictors and the data they were fitted on. Fitted coefficients ship as `calibration.json`.

Every predictor gives log t* = intercept + slope · log(feature) for a layer, with the feature read from weights and
one generic pass (tier 0) or from probe passes of random directions (tier ½); the predicted ceiling of a neuron is
c* = c(t*; c0) (LAW: collapse at t* = m*). Intervals are quantiles of the calibration neurons' residuals in log t.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from controlwindow import geometry
from controlwindow.curves import Curve

INTERVAL_LEVEL = 0.9
"""Nominal level of prediction intervals."""

REPORTED_CEILING = 0.82
"""c at which earlier work saw text collapse; kept as a predictor that fits nothing (method section 2)."""

FEATURES: dict[str, str | None] = {
    "reported_constant": None,
    "constant": None,
    "participation_ratio": "participation_ratio",
    "probe_curve": "probe_dose",
}
"""Predictors by name, and the layer feature each reads."""

PROBED = frozenset({"probe_dose"})
"""Features that cost probe passes (tier ½); the others come with the generic pass (tier 0)."""


@dataclass(frozen=True)
class Observation:
    """One measured ceiling of a calibration neuron.

    Attributes:
        model: The model's name.
        fingerprint: Its weights hash.
        lineage: What was trained together; states of one run are one lineage.
        neuron: The neuron.
        branch: +1 or −1.
        cosine: c0 on the branch.
        ceiling_t: Measured ceiling in budget units.
        participation_ratio: PR of the layer.
        probe_dose: t at which random directions of the layer reach the probe's KL level; None when never.
    """

    model: str
    fingerprint: str
    lineage: str
    neuron: str
    branch: int
    cosine: float
    ceiling_t: float
    participation_ratio: float
    probe_dose: float | None


class PredictedCeiling(NamedTuple):
    """A predicted ceiling in c and the ends of its interval; None where it is not reached: at or above the plateau."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor.

    Attributes:
        name: Its name.
        feature: The layer feature it reads; None for a constant.
        intercept: In log t.
        slope: Per log feature.
        residuals: Lower and upper quantile of the residuals in log t at `INTERVAL_LEVEL`.
        error_known: Mean absolute error in c on the models fitted.
        error_left_out: The same on each lineage left out in turn; None with fewer than two.
    """

    name: str
    feature: str | None
    intercept: float
    slope: float
    residuals: tuple[float, float]
    error_known: float
    error_left_out: float | None

    def dose(self, features: Mapping[str, float | None]) -> float | None:
        """Predicted t* of a layer; None when its feature is missing."""
        if self.feature is None:
            return math.exp(self.intercept)
        value = features.get(self.feature)
        return None if value is None else math.exp(self.intercept + self.slope * math.log(value))

    def ceiling(self, features: Mapping[str, float | None], curve: Curve) -> PredictedCeiling | None:
        """Predicted ceiling of a neuron with its interval; None when the layer's feature is missing.

        What collapses text is the coordinate: t* stands for c* = c(t*; c0) on the plain curve (LAW). A norm after the
        FFN changes which dose reaches it, or that none does.
        """
        t = self.dose(features)
        if t is None:
            return None
        ends = (t, *(t * math.exp(r) for r in self.residuals))
        found = (geometry.control_coordinate(end, curve.cosine) for end in ends)
        return PredictedCeiling(*(c if curve.plateau is None or c < curve.plateau else None for c in found))


@dataclass(frozen=True)
class Calibration:
    """Predictors with the models they were fitted on.

    Attributes:
        models: Name, fingerprint, lineage, neurons and branches of each calibration model.
        predictors: By name.
        default: Name of the predictor with the smallest error on lineages left out.
    """

    models: tuple[dict[str, Any], ...]
    predictors: dict[str, Predictor]
    default: str

    def default_for(self, *, probed: bool) -> str:
        """The predictor that counts: the default, or without probe passes the best of those that need none (tier 0)."""
        if probed:
            return self.default
        needless = [p for p in self.predictors.values() if p.feature not in PROBED]
        return min(needless, key=_error_first).name

    def in_sample(self, fingerprint: str) -> bool:
        """Whether a model was among those fitted."""
        return any(model["fingerprint"] == fingerprint for model in self.models)

    def to_json(self) -> str:
        """The shipped form."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


@lru_cache(maxsize=1)
def shipped_calibration() -> Calibration:
    """The calibration that ships with the package."""
    text = resources.files("controlwindow.windows").joinpath("calibration.json").read_text("utf-8")
    return calibration_from_json(text)


def calibration_from_json(text: str) -> Calibration:
    """Read `Calibration.to_json`."""
    data = json.loads(text)
    predictors = {
        name: Predictor(**{**values, "residuals": tuple(values["residuals"])})
        for name, values in data["predictors"].items()
    }
    return Calibration(tuple(data["models"]), predictors, data["default"])


def fit(observations: Sequence[Observation]) -> Calibration:
    """Fit every predictor and choose the default by its error on lineages left out.

    Args:
        observations: Measured ceilings; every lineage weighs the same, however many neurons it has.

    Raises:
        ValueError: No observations.
    """
    if not observations:
        raise ValueError("no observations to fit")
    predictors = {}
    for name, feature in FEATURES.items():
        usable = [o for o in observations if feature is None or getattr(o, feature) is not None]
        if not usable:
            continue
        intercept, slope = _coefficients(usable, name)
        residuals = np.array([math.log(o.ceiling_t) - _log_dose(o, feature, intercept, slope) for o in usable])
        weights = _weights(usable)
        # A lineage without the feature has no error to count, and must not count as one without error.
        lineages = sorted({o.lineage for o in usable})
        left_out = None
        if len(lineages) > 1:
            errors = []
            for lineage in lineages:
                fitted = _coefficients([o for o in usable if o.lineage != lineage], name)
                errors.append(_error([o for o in usable if o.lineage == lineage], feature, *fitted))
            left_out = float(np.mean(errors))
        predictors[name] = Predictor(
            name=name,
            feature=feature,
            intercept=round(intercept, 6),
            slope=round(slope, 6),
            residuals=(
                round(_weighted_quantile(residuals, weights, (1 - INTERVAL_LEVEL) / 2), 6),
                round(_weighted_quantile(residuals, weights, (1 + INTERVAL_LEVEL) / 2), 6),
            ),
            error_known=round(_error(usable, feature, intercept, slope), 6),
            error_left_out=None if left_out is None else round(left_out, 6),
        )
    models: dict[str, dict[str, Any]] = {}
    for o in observations:
        entry = models.setdefault(
            o.fingerprint, {"name": o.model, "fingerprint": o.fingerprint, "lineage": o.lineage, "observations": 0}
        )
        entry["observations"] += 1
    return Calibration(tuple(models.values()), predictors, min(predictors.values(), key=_error_first).name)


def _error_first(predictor: Predictor) -> tuple[bool, float, str]:
    """Order of predictors, best first. An error on models fitted flatters, so it only decides without the other."""
    left_out = predictor.error_left_out
    return left_out is None, predictor.error_known if left_out is None else left_out, predictor.name


def _weights(observations: Sequence[Observation]) -> np.ndarray[Any, np.dtype[np.float64]]:
    counts: dict[str, int] = {}
    for o in observations:
        counts[o.lineage] = counts.get(o.lineage, 0) + 1
    weights = np.array([1.0 / counts[o.lineage] for o in observations])
    return np.asarray(weights / weights.sum())


def _coefficients(observations: Sequence[Observation], name: str) -> tuple[float, float]:
    if name == "reported_constant":
        return math.log(geometry.dose_for(REPORTED_CEILING)), 0.0
    feature = FEATURES[name]
    weights = _weights(observations)
    y = np.log([o.ceiling_t for o in observations])
    if feature is None:
        return _weighted_quantile(y, weights, 0.5), 0.0
    x = np.log([getattr(o, feature) for o in observations])
    if feature == "probe_dose":
        # One factor κ between the probe's dose and the ceiling (method section 2), not a line: two models fit no slope.
        return _weighted_quantile(y - x, weights, 0.5), 1.0
    mean_x, mean_y = float(weights @ x), float(weights @ y)
    variance = float(weights @ (x - mean_x) ** 2)
    slope = float(weights @ ((x - mean_x) * (y - mean_y))) / variance if variance > 0 else 0.0
    return mean_y - slope * mean_x, slope


def _log_dose(o: Observation, feature: str | None, intercept: float, slope: float) -> float:
    return intercept if feature is None else intercept + slope * math.log(getattr(o, feature))


def _error(observations: Sequence[Observation], feature: str | None, intercept: float, slope: float) -> float:
    errors = [
        abs(
            geometry.control_coordinate(math.exp(_log_dose(o, feature, intercept, slope)), o.cosine)
            - geometry.control_coordinate(o.ceiling_t, o.cosine)
        )
        for o in observations
    ]
    return float(np.asarray(errors) @ _weights(observations))


def _weighted_quantile(values: Any, weights: Any, level: float) -> float:
    order = np.argsort(values)
    position = np.searchsorted(np.cumsum(np.asarray(weights)[order]), level)
    return float(np.asarray(values)[order][min(int(position), len(order) - 1)])
