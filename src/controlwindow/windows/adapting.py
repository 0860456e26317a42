"""What the calibration neurons of one model add to a predictor: offsets and slopes, shrunk towards nothing.

A ridge on the model's own residuals, with a penalty for each kind of coefficient. A penalty says how many observations
a coefficient's prior is worth: a model's offset is learnt from few neurons, that of a layer or a slope only from many.
"""

from __future__ import annotations

from collections.abc import Sequence
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

OWN_INTERVAL = 20
"""Calibration neurons from which on a model's interval is made of its own residuals alone; fewer share all models'."""

_OFFSET, _BEHAVIOR = 0.5, 2.0
"""Observations that the priors of a model's and of a behavior's offset are worth."""


class Shrinkage(NamedTuple):
    """Observations that the priors of a layer's offset and of a slope are worth."""

    layers: float
    slopes: float


SHRINKAGES: tuple[Shrinkage, ...] = tuple(
    Shrinkage(*pair) for pair in product((8.0, 32.0, 1e6), (8.0, 32.0, 128.0, 1e6))
)
"""What is tried; the last of each leaves the coefficients out."""


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
        if len({evidence.observations[i].subject.neuron for i in places}) >= LEAST_NEURONS:
            models[fingerprint] = evidence.chosen(places), locations[places]
    if not models:
        return {}, None
    tried = SHRINKAGES if features else tuple(s for s in SHRINKAGES if s.slopes == SHRINKAGES[0].slopes)
    left_out = {
        shrinkage: {f: _left_out(*model, scale, features, shrinkage) for f, model in models.items()}
        for shrinkage in tried
    }
    errors = {
        shrinkage: {f: _error(models[f], found, scale) for f, found in by_model.items()}
        for shrinkage, by_model in left_out.items()
    }
    best = min(tried, key=lambda shrinkage: (float(np.mean(list(errors[shrinkage].values()))), shrinkage))
    residuals = {f: own.locations(scale) - base - left_out[best][f] for f, (own, base) in models.items()}
    adapted = {}
    for fingerprint, (own, base) in models.items():
        fitted = _fit(own, own.locations(scale) - base, features, best)
        adapted[fingerprint] = Adaptation(
            shift=fitted,
            residuals=_residuals(fingerprint, {f: m[0] for f, m in models.items()}, residuals),
            error=round(errors[best][fingerprint], 6),
        )
    return adapted, float(np.mean(list(errors[best].values())))


def _error(model: tuple[Evidence, Floats], shift: Floats, scale: Scale) -> float:
    own, base = model
    return float(own.errors(base + shift, scale).mean())


def _left_out(own: Evidence, base: Floats, scale: Scale, features: tuple[str, ...], shrinkage: Shrinkage) -> Floats:
    """Shift of every observation, learnt from the other neurons of the model, [n]."""
    target = own.locations(scale) - base
    found = np.zeros(len(own))
    parts = _parts([o.subject.neuron for o in own.observations])
    for part in range(FOLDS):
        held, others = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        if len(held):
            fitted = _fit(own.chosen(others), target[others], features, shrinkage)
            found[held] = fitted.of(own.subjects.chosen(held))
    return found


def _parts(neurons: Sequence[str]) -> NDArray[np.int64]:
    """Which part each observation belongs to: both branches and all behaviors of a neuron to the same one."""
    names = sorted(set(neurons), key=lambda name: stable_seed("part", name))
    place = {name: i % FOLDS for i, name in enumerate(names)}
    return np.array([place[name] for name in neurons])


def _fit(own: Evidence, target: Floats, features: tuple[str, ...], shrinkage: Shrinkage) -> Shift:
    subjects, count = own.subjects, len(own)
    even = np.full(count, 1 / count)
    centres, scales = moments(subjects, features, even)
    layers = sorted(set(subjects.layers))
    behaviors = sorted({str(name) for name in subjects.behaviors})
    design = np.column_stack(
        [
            np.ones(count),
            *[np.array([at == layer for at in subjects.layers], float) for layer in layers],
            *[np.array([str(at) == name for at in subjects.behaviors], float) for name in behaviors],
            standardised(subjects, features, centres, scales),
        ]
    )
    priors = np.array(
        [
            _OFFSET,
            *[shrinkage.layers] * len(layers),
            *[_BEHAVIOR] * len(behaviors),
            *[shrinkage.slopes] * len(features),
        ]
    )
    found = ridge(design, target, own.reached, even, priors / count).round(6).tolist()
    middle, last = 1 + len(layers), 1 + len(layers) + len(behaviors)
    return Shift(
        offset=found[0],
        layers={str(layer): value for layer, value in zip(layers, found[1:middle], strict=True)},
        behaviors=dict(zip(behaviors, found[middle:last], strict=True)),
        features=features,
        centres=centres,
        scales=scales,
        slopes=tuple(found[last:]),
    )


def _residuals(fingerprint: str, models: dict[str, Evidence], residuals: dict[str, Floats]) -> Residuals:
    """A model's own residuals, or with few neurons those of all models, its own count deciding how far they reach."""
    neurons = len({o.subject.neuron for o in models[fingerprint].observations})
    used = [fingerprint] if neurons >= OWN_INTERVAL else list(models)
    values = np.concatenate([residuals[f] for f in used])
    reached = np.concatenate([models[f].reached for f in used])
    weights = np.concatenate([np.full(len(residuals[f]), 1 / len(residuals[f])) for f in used])
    total = sum(len({o.subject.neuron for o in models[f].observations}) for f in used)
    return residuals_of(values, reached, weights, total)
