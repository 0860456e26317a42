"""Fitting the predictors of ceilings on measured ones. Pure: the same observations give the same calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from controlwindow import geometry
from controlwindow.windows.adapting import adapt
from controlwindow.windows.calibration import Calibration, Observation
from controlwindow.windows.choosing import Coefficients, Form, choose_form, fit_form
from controlwindow.windows.evidence import Evidence, evidence_of
from controlwindow.windows.features import TIERS, Tier
from controlwindow.windows.predictors import FEATURES, INTERVAL_LEVEL, Predictor
from controlwindow.windows.residuals import Residuals, residuals_of

Floats = NDArray[np.float64]

REPORTED_CEILING = 0.82
"""c at which earlier work saw text collapse; kept as a predictor that fits nothing (method section 2)."""

SIMPLE: dict[str, Form] = {
    "constant": Form("t"),
    "constant_coordinate": Form("c"),
    "participation_ratio": Form("t", None, ("participation_ratio",), 0.0),
    "probe_curve_half": Form("t", "probe_dose_half"),
    "probe_curve_1": Form("t", "probe_dose_1"),
    "probe_curve": Form("t", "probe_dose"),
}
"""Predictors of one feature at most: what the chosen ones are held against."""

COMBINED: dict[Tier, str] = {"0": "combined_0", "1/2": "combined_half", "1": "combined_1"}
"""Name of the chosen predictor of each tier."""

UNCHOSEN: dict[Tier, Form] = {
    "0": Form("t"),
    "1/2": Form("t", "probe_dose_1"),
    "1": Form("t", "own_dose"),
}
"""What the combined predictors read where nothing is chosen: the tier's dearest anchor."""


def fit_predictors(observations: Sequence[Observation], *, choose: bool = True) -> Calibration:
    """Fit every predictor.

    Args:
        observations: Measured ceilings; every lineage weighs the same, however many neurons it has.
        choose: Whether the combined predictors choose their features, each lineage left out in turn; else they read
            `UNCHOSEN`. To judge the result on a lineage, leave its observations out altogether.

    Returns:
        The predictors. Those that adapt to models (`combined_*`, `model_median`) know the models of the observations.

    Raises:
        ValueError: No observations.
    """
    if not observations:
        raise ValueError("no observations to fit")
    evidence = evidence_of(observations)
    predictors = {"reported_constant": _reported(evidence)}
    for name, form in SIMPLE.items():
        known = _knowing(evidence, form)
        if len(known):
            predictors[name] = _predictor(name, form, known, required=True)
    predictors["model_median"] = _predictor("model_median", Form("c"), evidence, adapted=())
    chosen: Form | None = None
    for tier in TIERS:
        if tier != "0" and not _read(evidence, tier):
            continue
        form = chosen = choose_form(evidence, tier, chosen) if choose else UNCHOSEN[tier]
        predictors[COMBINED[tier]] = _predictor(COMBINED[tier], form, evidence, tier=tier, adapted=_within(tier))
    return Calibration(_models(evidence), predictors)


def _within(tier: Tier) -> tuple[str, ...]:
    """Features in which neurons of one model differ."""
    place = TIERS.index(tier)
    return tuple(name for name, f in FEATURES.items() if f.within and TIERS.index(f.tier) <= place)


def _read(evidence: Evidence, tier: Tier) -> bool:
    """Whether the features of a tier were read of any subject."""
    names = [name for name, feature in FEATURES.items() if feature.tier == tier]
    return not all(evidence.subjects.missing(name).all() for name in names)


def _knowing(evidence: Evidence, form: Form) -> Evidence:
    """Observations that have what a form reads. A lineage without it must not count as one without error."""
    names = (*form.features, *([form.anchor] if form.anchor else []))
    missing = np.zeros(len(evidence), dtype=bool)
    for name in names:
        missing |= evidence.subjects.missing(name)
    return evidence.parted(missing)[0]


def _predictor(
    name: str,
    form: Form,
    evidence: Evidence,
    *,
    tier: Tier | None = None,
    required: bool = False,
    adapted: tuple[str, ...] | None = None,
) -> Predictor:
    fitted = fit_form(evidence, form)
    locations = fitted.location(evidence.subjects, form)
    errors = evidence.errors(locations, form.scale)
    models, error_known = ({}, None) if adapted is None else adapt(evidence, locations, form.scale, adapted)
    names = (*form.features, *([form.anchor] if form.anchor else []))
    dearest = max((TIERS.index(FEATURES[n].tier) for n in names), default=0)
    residuals, left_out = _left_out(evidence, form, locations)
    return Predictor(
        name=name,
        tier=TIERS[dearest] if tier is None else tier,
        scale=form.scale,
        anchor=form.anchor,
        features=form.features,
        centres=fitted.centres,
        scales=fitted.scales,
        intercept=round(fitted.intercept, 6),
        coefficients=tuple(round(v, 6) for v in fitted.coefficients),
        residuals=residuals,
        models=models,
        required=required,
        error_known=round(float(evidence.weights @ errors) if error_known is None else error_known, 6),
        error_left_out=left_out,
    )


def _left_out(evidence: Evidence, form: Form, locations: Floats) -> tuple[Residuals, float | None]:
    """Residuals and mean error in c with each lineage left out in turn; with one lineage, residuals on itself."""
    measured = evidence.locations(form.scale)
    count = len(evidence.lineages)
    if count < 2:
        neurons = len({o.subject.neuron for o in evidence.observations})
        return residuals_of(measured - locations, evidence.reached, evidence.weights, neurons), None
    values, reached, errors = [], [], []
    for others, held in evidence.folds:
        location = fit_form(others, form).location(held.subjects, form)
        values.append(held.locations(form.scale) - location)
        reached.append(held.reached)
        errors.append(float(held.errors(location, form.scale).mean()))
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in values])
    found = residuals_of(np.concatenate(values), np.concatenate(reached), weights, len(evidence), widening(count))
    return found, round(float(np.mean(errors)), 6)


def widening(lineages: int) -> float:
    """How much wider an interval for a new lineage is than the residuals of so few lineages say (ours).

    Lineages are what is exchangeable, not their neurons: the ratio of Student's quantile with lineages − 1 degrees of
    freedom to the normal one, and √(1 + 1/lineages) for the mean that was fitted.

    Example:
        >>> round(widening(10), 2), round(widening(1000), 2)
        (1.17, 1.0)
    """
    level = (1 + INTERVAL_LEVEL) / 2
    return float(stats.t.ppf(level, lineages - 1) / stats.norm.ppf(level) * math.sqrt(1 + 1 / lineages))


def _reported(evidence: Evidence) -> Predictor:
    """The constant that earlier work reported. Nothing is fitted, so every lineage is a held-out one."""
    form = Form("t")
    location = math.log(geometry.dose_for(REPORTED_CEILING))
    locations = Coefficients(location, (), (), ()).location(evidence.subjects, form)
    error = round(float(evidence.weights @ evidence.errors(locations, form.scale)), 6)
    return Predictor(
        name="reported_constant",
        tier="0",
        scale=form.scale,
        anchor=None,
        features=(),
        centres=(),
        scales=(),
        intercept=round(location, 6),
        coefficients=(),
        residuals=residuals_of(
            evidence.locations(form.scale) - location, evidence.reached, evidence.weights, len(evidence)
        ),
        models={},
        required=False,
        error_known=error,
        error_left_out=error,
    )


def _models(evidence: Evidence) -> tuple[dict[str, Any], ...]:
    """What is said of each calibration model."""
    models: dict[str, dict[str, Any]] = {}
    neurons: dict[str, set[str]] = {}
    for o in evidence.observations:
        entry = models.setdefault(
            o.fingerprint, {"name": o.model, "fingerprint": o.fingerprint, "lineage": o.lineage, "observations": 0}
        )
        entry["observations"] += 1
        neurons.setdefault(o.fingerprint, set()).add(o.subject.neuron)
    return tuple({**entry, "neurons": len(neurons[fingerprint])} for fingerprint, entry in models.items())
