"""Which features a predictor reads: chosen on calibration lineages, each left out in turn.

The search is greedy and stingy, as a handful of lineages can tell little apart: first scale and anchor, then blocks of
features that belong together, each kept only if it lowers the error on lineages left out by `GAIN` and does so on at
least half of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.windows.evidence import Evidence
from controlwindow.windows.features import Tier
from controlwindow.windows.predictors import FEATURES, ORDER, Scale, Subjects, anchored, standardised
from controlwindow.windows.regression import ridge
from controlwindow.windows.residuals import censored_quantiles

Floats = NDArray[np.float64]

GAIN = 0.05
"""Share of the error by which a block of features must lower it."""

BLOCKS: tuple[tuple[str, ...], ...] = (
    ("participation_ratio",),
    ("common_share",),
    ("entropy", "margin"),
    ("depth", "norm_growth"),
    ("cosine", "mean_cosine"),
    ("variance_share", "readout_spread"),
    ("probe_dose_half", "probe_dose_1", "probe_dose"),
    ("surprise_dose",),
    ("own_dose",),
    ("own_divergence", "own_divergence_1"),
    ("own_surprise", "own_surprise_1"),
)
"""Features that are taken or left together."""

ANCHORS: tuple[str, ...] = ("probe_dose_half", "probe_dose_1", "probe_dose", "surprise_dose", "own_dose")
"""Doses read off a response curve."""

PENALTIES = (0.03, 0.3)
"""Ridge penalties that are tried, per unit of total weight."""

_SCALES: tuple[Scale, ...] = ("t", "c")
_THINNED = 160
"""Most observations of a lineage that the choice looks at."""


@dataclass(frozen=True)
class Form:
    """What a predictor reads, before it is fitted.

    Attributes:
        scale: "t" or "c".
        anchor: Feature taken over as a dose.
        features: Features that enter linearly.
        penalty: Ridge penalty of their coefficients.
    """

    scale: Scale
    anchor: str | None = None
    features: tuple[str, ...] = ()
    penalty: float = PENALTIES[-1]


class Coefficients(NamedTuple):
    """A fitted form; see `Predictor`."""

    intercept: float
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]

    def location(self, subjects: Subjects, form: Form) -> Floats:
        """y of each subject, [subjects]."""
        features = standardised(subjects, form.features, self.centres, self.scales)
        base = self.intercept + anchored(subjects, form.anchor, form.scale)
        return np.asarray(base + features @ np.asarray(self.coefficients))


def fit_form(evidence: Evidence, form: Form) -> Coefficients:
    """Fit a form: a censored median without features, else robust censored ridge; lineages weigh the same."""
    subjects, weights = evidence.subjects, evidence.weights
    target = evidence.locations(form.scale) - anchored(subjects, form.anchor, form.scale)
    if not form.features:
        middle = censored_quantiles(target, evidence.reached, weights, [0.5])
        return Coefficients(float(middle[0]), (), (), ())
    centres, scales = moments(subjects, form.features, weights)
    design = np.column_stack([np.ones(len(evidence)), standardised(subjects, form.features, centres, scales)])
    penalties = np.array([0.0, *[form.penalty] * len(form.features)])
    found = ridge(design, target, evidence.reached, weights, penalties)
    return Coefficients(float(found[0]), centres, scales, tuple(float(v) for v in found[1:]))


def moments(subjects: Subjects, names: tuple[str, ...], weights: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weighted mean and standard deviation of features, what is missing left out; 1 for a feature without spread."""
    centres, scales = [], []
    for name in names:
        values = subjects.column(name)
        known = ~np.isnan(values)
        share = weights[known] / weights[known].sum() if known.any() else weights[known]
        middle = float(share @ values[known]) if known.any() else 0.0
        spread = float(np.sqrt(share @ (values[known] - middle) ** 2)) if known.any() else 0.0
        centres.append(round(middle, 8))
        scales.append(round(spread, 8) if spread > 1e-6 else 1.0)
    return tuple(centres), tuple(scales)


def errors_left_out(evidence: Evidence, form: Form) -> Floats:
    """Mean error in c on each lineage, fitted on the others, [lineages]."""
    found = []
    for others, held in evidence.folds:
        location = fit_form(others, form).location(held.subjects, form)
        found.append(held.errors(location, form.scale).mean())
    return np.array(found)


def choose_form(evidence: Evidence, tier: Tier, cheaper: Form | None = None) -> Form:
    """The form of a tier with the smallest error on lineages left out.

    Args:
        evidence: Calibration neurons; with one lineage its models' neurons cannot tell forms apart, and the dearest
            anchor alone is taken.
        tier: Features of dearer tiers are left out.
        cheaper: What was chosen for the tier below. It is kept unless this tier's features help as much as a block has
            to: they cost passes, and a handful of lineages flatters whatever is chosen last.
    """
    anchors = [None, *(name for name in ANCHORS if _affordable(name, tier))]
    if len(evidence.lineages) < 2:
        return Form("t", anchors[-1])
    thinned = evidence.thinned(_THINNED)
    plain = [Form(scale, anchor) for scale, anchor in product(_SCALES, anchors)]
    ranked = sorted(((float(errors_left_out(thinned, form).mean()), i) for i, form in enumerate(plain)))
    grown = [_grown(thinned, plain[i], tier) for _, i in ranked[:2]]
    best = min(grown, key=lambda found: float(found[0].mean()))
    if cheaper is not None and not _helps(best[0], errors_left_out(thinned, cheaper)):
        return cheaper
    return best[1]


def _helps(found: Floats, before: Floats) -> bool:
    """Whether errors on lineages left out are lower by `GAIN`, and on at least half of the lineages."""
    return bool(found.mean() < (1 - GAIN) * before.mean() and (found < before).mean() >= 0.5)


def _grown(evidence: Evidence, form: Form, tier: Tier) -> tuple[Floats, Form]:
    """Add blocks of features as long as they help."""
    best = errors_left_out(evidence, form)
    while True:
        tried = [(errors_left_out(evidence, larger), larger) for larger in _larger(form, tier)]
        helpful = [(found, larger) for found, larger in tried if _helps(found, best)]
        if not helpful:
            return best, form
        best, form = min(helpful, key=lambda pair: float(pair[0].mean()))


def _larger(form: Form, tier: Tier) -> Iterator[Form]:
    for block, penalty in product(BLOCKS, PENALTIES):
        if set(block) <= set(form.features) or not all(_affordable(name, tier) for name in block):
            continue
        yield replace(form, features=(*form.features, *block), penalty=penalty)


def _affordable(name: str, tier: Tier) -> bool:
    return ORDER[FEATURES[name].tier] <= ORDER[tier]
