"""What the calibration neurons of one model add to a predictor: offsets and slopes, shrunk towards nothing.

A ridge on the model's own residuals, with a penalty for each kind of coefficient. A penalty says how many observations
a coefficient's prior is worth: a model's offset is learnt from few neurons, that of a layer or a slope only from many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import stable_seed
from controlwindow.windows.choosing import moments
from controlwindow.windows.evidence import Evidence
from controlwindow.windows.predictors import Adaptation, Scale, Shift, standardised
from controlwindow.windows.regression import ridge
from controlwindow.windows.residuals import Residuals, residuals_of

Floats = NDArray[np.float64]

FOLDS = 5
"""Parts in which a model's calibration neurons are left out."""

LEAST_NEURONS = 5
"""Fewest calibration neurons from which a model learns anything."""

OWN_INTERVAL = 10
"""Calibration neurons from which on a model's interval is made of its own residuals alone; fewer share all models'."""

_OFFSET, _BEHAVIOR = 0.5, 2.0
"""Observations that the priors of a model's and of a behavior's offset are worth."""


class Shrinkage(NamedTuple):
    """Observations that the priors of a layer's offset and of a slope are worth."""

    layers: float
    slopes: float


SHRINKAGES: tuple[Shrinkage, ...] = tuple(Shrinkage(*pair) for pair in product((16.0, 1e6), (8.0, 64.0, 1e6)))
"""What is tried; the last of each leaves the coefficients out."""


@dataclass(frozen=True, eq=False)
class _Own:
    """One model's calibration neurons as a regression.

    Attributes:
        evidence: The observations, [n].
        base: What the predictor gives for them, [n].
        target: What is to be learnt: measured less `base`, [n].
        scale: The predictor's scale.
        features: Features that get slopes.
        centres: What they are centred at.
        scales: What they are divided by.
        layers: Layers of the neurons, each once.
        behaviors: Behaviors, each once.
        design: Columns for the offset, layers, behaviors and features, [n, columns].
        parts: Which of `FOLDS` parts each observation is left out with; a neuron's are one part, [n].
    """

    evidence: Evidence
    base: Floats
    target: Floats
    scale: Scale
    features: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    layers: tuple[int, ...]
    behaviors: tuple[str, ...]
    design: Floats
    parts: NDArray[np.int64]

    def coefficients(self, places: NDArray[np.int64], shrinkage: Shrinkage) -> Floats:
        """Learn from the observations at some places, [columns]."""
        count = len(places)
        priors = np.repeat(
            [_OFFSET, shrinkage.layers, _BEHAVIOR, shrinkage.slopes],
            [1, len(self.layers), len(self.behaviors), len(self.features)],
        )
        reached = self.evidence.reached[places]
        return ridge(self.design[places], self.target[places], reached, np.ones(count), priors / count)

    def left_out(self, shrinkage: Shrinkage) -> Floats:
        """Shift of every observation, learnt from the other neurons of the model, [n]."""
        found = np.zeros(len(self.evidence))
        for part in np.unique(self.parts):
            held = self.parts == part
            found[held] = self.design[held] @ self.coefficients(np.flatnonzero(~held), shrinkage)
        return found

    def error(self, shift: Floats) -> float:
        """Mean error in c under a shift."""
        return float(self.evidence.errors(self.base + shift, self.scale).mean())

    def shift(self, shrinkage: Shrinkage) -> Shift:
        """What all neurons tell."""
        found = self.coefficients(np.arange(len(self.evidence)), shrinkage).round(6).tolist()
        middle, last = 1 + len(self.layers), 1 + len(self.layers) + len(self.behaviors)
        return Shift(
            offset=found[0],
            layers={str(layer): value for layer, value in zip(self.layers, found[1:middle], strict=True)},
            behaviors=dict(zip(self.behaviors, found[middle:last], strict=True)),
            features=self.features,
            centres=self.centres,
            scales=self.scales,
            slopes=tuple(found[last:]),
        )


def adapt(
    evidence: Evidence, locations: Floats, scale: Scale, features: tuple[str, ...]
) -> tuple[dict[str, Adaptation], float | None]:
    """Adapt a predictor to every model with enough calibration neurons.

    Args:
        evidence: Calibration neurons of all models.
        locations: What the predictor gives for them, [n].
        scale: Its scale.
        features: Features that get slopes of their own; none for offsets alone.

    Returns:
        By fingerprint, and the mean error in c over models with each neuron predicted from the others of its model;
        None where no model has enough neurons.
    """
    models = {}
    for fingerprint in evidence.fingerprints:
        places = np.flatnonzero([o.fingerprint == fingerprint for o in evidence.observations])
        if _neurons(evidence.chosen(places)) >= LEAST_NEURONS:
            models[fingerprint] = _own(evidence.chosen(places), locations[places], scale, features)
    if not models:
        return {}, None
    tried = SHRINKAGES if features else tuple(dict.fromkeys(s._replace(slopes=1e6) for s in SHRINKAGES))
    left_out = {shrinkage: {f: own.left_out(shrinkage) for f, own in models.items()} for shrinkage in tried}
    errors = {s: {f: models[f].error(shift) for f, shift in by_model.items()} for s, by_model in left_out.items()}
    best = min(tried, key=lambda shrinkage: (float(np.mean(list(errors[shrinkage].values()))), shrinkage))
    residuals = {f: own.target - left_out[best][f] for f, own in models.items()}
    adapted = {
        f: Adaptation(own.shift(best), _residuals(f, models, residuals), round(errors[best][f], 6))
        for f, own in models.items()
    }
    return adapted, float(np.mean(list(errors[best].values())))


def _neurons(evidence: Evidence) -> int:
    return len({o.subject.neuron for o in evidence.observations})


def _own(evidence: Evidence, base: Floats, scale: Scale, features: tuple[str, ...]) -> _Own:
    subjects = evidence.subjects
    centres, scales = moments(subjects, features, np.full(len(evidence), 1 / len(evidence)))
    layers = tuple(sorted(set(subjects.layers)))
    behaviors = tuple(sorted({str(name) for name in subjects.behaviors}))
    columns = [
        np.ones((len(evidence), 1)),
        np.asarray(subjects.layers)[:, None] == np.asarray(layers),
        np.asarray([str(name) for name in subjects.behaviors])[:, None] == np.asarray(behaviors),
        standardised(subjects, features, centres, scales),
    ]
    return _Own(
        evidence=evidence,
        base=base,
        target=evidence.locations(scale) - base,
        scale=scale,
        features=features,
        centres=centres,
        scales=scales,
        layers=layers,
        behaviors=behaviors,
        design=np.concatenate([np.asarray(part, np.float64) for part in columns], axis=1),
        parts=_parts([o.subject.neuron for o in evidence.observations]),
    )


def _parts(neurons: Sequence[str]) -> NDArray[np.int64]:
    names = sorted(set(neurons), key=lambda name: stable_seed("part", name))
    place = {name: i % FOLDS for i, name in enumerate(names)}
    return np.array([place[name] for name in neurons])


def _residuals(fingerprint: str, models: Mapping[str, _Own], residuals: Mapping[str, Floats]) -> Residuals:
    """A model's own residuals; with few neurons those of all models."""
    used = [fingerprint] if _neurons(models[fingerprint].evidence) >= OWN_INTERVAL else list(models)
    values = np.concatenate([residuals[f] for f in used])
    reached = np.concatenate([models[f].evidence.reached for f in used])
    weights = np.concatenate([np.full(len(residuals[f]), 1 / len(residuals[f])) for f in used])
    return residuals_of(values, reached, weights, sum(_neurons(models[f].evidence) for f in used))
