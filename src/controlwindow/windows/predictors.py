"""Predictors of ceilings: what each reads, and how a fitted one turns features into a ceiling with its interval.

A predictor gives a location y in one of two scales and stands for the claim that y is what collapses text:

- scale "t": y = log t*, and the ceiling is c(t*; c0) on the plain curve (LAW: collapse at t* = m*);
- scale "c": y = c* itself, whatever c0 is.

The two differ where c0 is far from 0, and which is closer is decided by the calibration neurons. y is the sum of an
intercept, an anchor (a dose that was read off a response curve, taken over as it is) and standardised features with
their coefficients. A model among those calibrated adds what its own calibration neurons tell, shrunk towards nothing:
an offset, offsets of layers and behaviors, and slopes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow import geometry
from controlwindow.windows.features import Subject, Tier
from controlwindow.windows.residuals import Residuals

Floats = NDArray[np.float64]
Scale = Literal["t", "c"]

INTERVAL_LEVEL = 0.9
"""Nominal level of prediction intervals."""

_SMALLEST_DOSE, _LARGEST_DOSE = 0.01, 1e4
_LARGEST_COORDINATE = 0.9999


class Feature(NamedTuple):
    """How a feature enters.

    Attributes:
        tier: The cheapest tier that knows it.
        logarithm: Whether its logarithm is used.
        floor: What smaller values count as, before the logarithm.
        missing: What a missing value counts as; None for the calibration's mean.
        within: Whether it differs between the neurons or layers of one model.
    """

    tier: Tier
    logarithm: bool = False
    floor: float = 1e-6
    missing: float | None = None
    within: bool = True


FEATURES: dict[str, Feature] = {
    "depth": Feature("0"),
    "norm_growth": Feature("0", logarithm=True),
    "participation_ratio": Feature("0", logarithm=True),
    "common_share": Feature("0"),
    "entropy": Feature("0", logarithm=True, floor=1e-3, within=False),
    "margin": Feature("0", logarithm=True, floor=1e-2, within=False),
    "cosine": Feature("0"),
    "mean_cosine": Feature("0"),
    "variance_share": Feature("0", logarithm=True, floor=1e-3),
    "readout_spread": Feature("0", logarithm=True, floor=1e-3),
    # A response that stays below its level is at least as robust as the last dose tried.
    "probe_dose_half": Feature("1/2", logarithm=True, missing=5.4),
    "probe_dose_1": Feature("1/2", logarithm=True, missing=5.4),
    "probe_dose": Feature("1/2", logarithm=True, missing=5.4),
    "surprise_dose": Feature("1/2", logarithm=True, missing=5.4),
    "own_divergence": Feature("1", logarithm=True, floor=1e-4),
    "own_divergence_1": Feature("1", logarithm=True, floor=1e-4),
    "own_surprise": Feature("1", logarithm=True, floor=1e-3),
    "own_surprise_1": Feature("1", logarithm=True, floor=1e-3),
    "own_dose": Feature("1", logarithm=True, missing=20.0),
}
"""Features by name (`layer_features`, `features`)."""

ORDER: dict[Tier, int] = {"0": 0, "1/2": 1, "1": 2}
"""Tiers by cost."""


class PredictedCeiling(NamedTuple):
    """A predicted ceiling in c.

    Attributes:
        value: The ceiling; None where it is not expected to be reached.
        low: Lower end of the 90 % interval; None where even that is not reached.
        high: Upper end; None where a ceiling that is not reached is among what is to be expected.
        probability_not_reached: That the text has not collapsed at the end of the range, or at the plateau.
    """

    value: float | None
    low: float | None
    high: float | None
    probability_not_reached: float = 0.0


@dataclass(frozen=True, eq=False)
class Subjects:
    """Many subjects of a prediction, as arrays.

    Attributes:
        values: Features by name, [subjects]; NaN where missing.
        cosines: c0, [subjects].
        limits: Largest c that is asked for, [subjects].
        layers: Layer of each.
        behaviors: Behavior of each; None where the prediction is for any.
    """

    values: Mapping[str, Floats]
    cosines: Floats
    limits: Floats
    layers: Sequence[int]
    behaviors: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.cosines)

    def chosen(self, places: NDArray[np.int64]) -> Subjects:
        """The subjects at some places."""
        return Subjects(
            {name: values[places] for name, values in self.values.items()},
            self.cosines[places],
            self.limits[places],
            [self.layers[i] for i in places],
            [self.behaviors[i] for i in places],
        )

    def column(self, name: str) -> Floats:
        """One feature as it enters, [subjects]; NaN where it is missing and nothing stands for it."""
        feature = FEATURES[name]
        values = np.asarray(self.values.get(name, np.full(len(self), np.nan)), np.float64)
        if feature.missing is not None:
            values = np.where(np.isnan(values), feature.missing, values)
        return np.asarray(np.log(np.maximum(values, feature.floor)) if feature.logarithm else values)

    def knows(self, tier: Tier) -> bool:
        """Whether any feature that comes with a tier was read."""
        return any(feature.tier == tier and name in self.values for name, feature in FEATURES.items())

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Where a feature was not read or has no value, [subjects]."""
        return np.isnan(np.asarray(self.values.get(name, np.full(len(self), np.nan)), np.float64))


def subjects_as_arrays(subjects: Sequence[Subject], behaviors: Sequence[str | None]) -> Subjects:
    """Put subjects side by side."""
    names = {name for subject in subjects for name in subject.features}
    return Subjects(
        values={
            name: np.array([_number(subject.features.get(name)) for subject in subjects]) for name in sorted(names)
        },
        cosines=np.array([subject.curve.cosine for subject in subjects]),
        limits=np.array([subject.limit for subject in subjects]),
        layers=[subject.layer for subject in subjects],
        behaviors=list(behaviors),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Shift:
    """What is added to a predictor's location for one model.

    Attributes:
        offset: In the predictor's scale.
        layers: Offset of each layer by its number, as text.
        behaviors: Offset of each behavior.
        features: Names of the features with a slope of their own here.
        centres: What the features are centred at.
        scales: What they are divided by.
        slopes: Per standardised feature.
    """

    offset: float
    layers: dict[str, float]
    behaviors: dict[str, float]
    features: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    slopes: tuple[float, ...]

    def of(self, subjects: Subjects) -> Floats:
        """The shift of each subject, [subjects]."""
        found = np.full(len(subjects), self.offset)
        found += np.array([self.layers.get(str(layer), 0.0) for layer in subjects.layers])
        found += np.array([self.behaviors.get(str(name), 0.0) for name in subjects.behaviors])
        found += standardised(subjects, self.features, self.centres, self.scales) @ np.asarray(self.slopes)
        return found


@dataclass(frozen=True)
class Adaptation:
    """What the calibration neurons of one model tell of it.

    Attributes:
        shift: What is added to the predictor's location.
        residuals: Of this model's calibration neurons, each predicted from the others.
        error: Mean absolute error in c, each predicted from the others.
    """

    shift: Shift
    residuals: Residuals
    error: float


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor.

    Attributes:
        name: Its name.
        tier: The cheapest tier whose features suffice.
        scale: "t" or "c".
        anchor: Feature taken over as a dose; None without.
        features: Names of the features that enter linearly.
        centres: What they are centred at.
        scales: What they are divided by.
        intercept: In the scale.
        coefficients: Per standardised feature.
        residuals: In the scale, of lineages left out where there are several.
        models: By fingerprint, what calibration neurons of a model add; empty where nothing is adapted.
        required: Whether a subject without the anchor or a feature is left without a prediction.
        error_known: Mean absolute error in c on the models fitted; neurons left out in turn where models are adapted.
        error_left_out: The same on each lineage left out in turn; None with fewer than two.
    """

    name: str
    tier: Tier
    scale: Scale
    anchor: str | None
    features: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    intercept: float
    coefficients: tuple[float, ...]
    residuals: Residuals
    models: dict[str, Adaptation]
    required: bool
    error_known: float
    error_left_out: float | None

    def location(self, subjects: Subjects, fingerprint: str | None = None) -> Floats:
        """y of each subject, [subjects]; NaN where a required feature is missing, or its tier was not read at all."""
        if self.tier != "0" and not subjects.knows(self.tier):
            return np.full(len(subjects), np.nan)
        found = np.full(len(subjects), self.intercept) + anchored(subjects, self.anchor, self.scale)
        found = found + standardised(subjects, self.features, self.centres, self.scales) @ np.asarray(self.coefficients)
        adaptation = self.models.get(fingerprint or "")
        if adaptation is not None:
            found = found + adaptation.shift.of(subjects)
        if self.required:
            for name in (*self.features, *([self.anchor] if self.anchor else [])):
                found = np.where(subjects.missing(name), np.nan, found)
        return found

    def spread(self, fingerprint: str | None = None) -> Residuals:
        """Residuals of a model: its own where it was calibrated, those of lineages left out elsewhere."""
        adaptation = self.models.get(fingerprint or "")
        return self.residuals if adaptation is None else adaptation.residuals

    def table(self, subjects: Subjects, fingerprint: str | None = None) -> dict[str, Floats]:
        """Predicted ceilings of many subjects.

        Returns:
            `value`, `low`, `high` in c, NaN where not reached, and `not_reached`, the probability of that; all NaN
            where nothing is predicted. Each [subjects].
        """
        location, spread = self.location(subjects, fingerprint), self.spread(fingerprint)
        limits = to_scale(subjects.limits, subjects.cosines, self.scale)
        # A prediction is for a finite dose, so what only an unbounded one reaches is out of reach.
        ends = {
            "value": location,
            "low": location + spread.quantile((1 - INTERVAL_LEVEL) / 2),
            "high": location + spread.quantile((1 + INTERVAL_LEVEL) / 2),
        }
        found = {
            name: np.where(end < limits, from_scale(end, subjects.cosines, self.scale), np.nan)
            for name, end in ends.items()
        }
        share = spread.share_above(limits - location)
        found["not_reached"] = np.where(np.isnan(location), np.nan, share)
        return found

    def ceiling(
        self, subject: Subject, *, fingerprint: str | None = None, behavior: str | None = None
    ) -> PredictedCeiling | None:
        """Predicted ceiling of one subject; None where a required feature is missing."""
        row = {
            name: float(v[0]) for name, v in self.table(subjects_as_arrays([subject], [behavior]), fingerprint).items()
        }
        if math.isnan(row["not_reached"]):
            return None
        value, low, high = (None if math.isnan(row[name]) else row[name] for name in ("value", "low", "high"))
        return PredictedCeiling(value, low, high, row["not_reached"])


def standardised(subjects: Subjects, names: Sequence[str], centres: Sequence[float], scales: Sequence[float]) -> Floats:
    """Features less their centre over their scale, [subjects, features]; 0 where missing."""
    columns = [
        np.nan_to_num((subjects.column(name) - centre) / scale)
        for name, centre, scale in zip(names, centres, scales, strict=True)
    ]
    return np.stack(columns, 1) if columns else np.zeros((len(subjects), 0))


def anchored(subjects: Subjects, anchor: str | None, scale: Scale) -> Floats:
    """The anchor's dose in a scale, [subjects]; 0 without one. A missing anchor is one that was never reached."""
    if anchor is None:
        return np.zeros(len(subjects))
    logarithm = subjects.column(anchor)
    if scale == "t":
        return logarithm
    return np.asarray(geometry.control_coordinate(np.exp(logarithm), subjects.cosines))


def to_scale(coordinates: Floats, cosines: Floats, scale: Scale) -> Floats:
    """Control coordinates in a predictor's scale, [subjects]."""
    if scale == "c":
        return coordinates
    bounded = np.clip(coordinates, -_LARGEST_COORDINATE, _LARGEST_COORDINATE)
    doses = np.asarray(geometry.dose_for(bounded, np.clip(cosines, -_LARGEST_COORDINATE, _LARGEST_COORDINATE)))
    # A ceiling at or below c0 is one that no dose was needed for.
    return np.asarray(np.log(np.clip(doses, _SMALLEST_DOSE, _LARGEST_DOSE)))


def from_scale(locations: Floats, cosines: Floats, scale: Scale) -> Floats:
    """Locations as control coordinates, [subjects]; none lies below c0, where no dose is needed."""
    if scale == "c":
        lowest = np.minimum(cosines, _LARGEST_COORDINATE)
        return np.asarray(np.clip(locations, lowest, _LARGEST_COORDINATE))
    doses = np.exp(np.clip(locations, math.log(_SMALLEST_DOSE), math.log(_LARGEST_DOSE)))
    return np.asarray(geometry.control_coordinate(doses, cosines))
