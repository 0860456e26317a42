"""Setting a model's coherence thresholds from labelled controls, and how well they separate them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.behaviors.coherence import ONSET, TOLD_TWICE, WINDOW, CoherenceDetector, CoherenceFeatures
from controlwindow.behaviors.controls import (
    COHERENT_KINDS,
    COLLAPSED_KINDS,
    REPEATING_KINDS,
    SHORTEST,
    SURPRISING_KINDS,
)
from controlwindow.errors import ControlWindowError
from controlwindow.statistics import area_under_roc, wilson_interval

#: Quantiles between which a threshold is put: of the coherent cell that reaches furthest, and of the collapsed one
#: that reaches least.
COHERENT_QUANTILE = 0.99
COLLAPSED_QUANTILE = 0.05
#: Where the sides overlap, the quantile of every coherent cell that stays on its side.
OVERLAP_QUANTILE = 0.95

_ROC_POINTS = 41
_LEAST = 0.02


class LabelledFeatures(NamedTuple):
    """Features of one control.

    Attributes:
        kind: How the control was made.
        collapsed: Its label.
        prompt: Index of its prompt, by which it is put into one half or the other.
        length: Its horizon.
        features: Measured against the prompt's undosed rollout at that horizon.
    """

    kind: str
    collapsed: bool
    prompt: int
    length: int
    features: CoherenceFeatures


class JudgedShare(NamedTuple):
    """How many controls of a kind and horizon the detector calls collapsed."""

    kind: str
    length: int
    collapsed: int
    total: int


class RocPoint(NamedTuple):
    """Rates of the whole detector when all thresholds are moved together to this severity."""

    severity: float
    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class DetectorSetting:
    """What a detector's thresholds rest on.

    Attributes:
        scale: Mean excess surprisal of shuffled text, nats per token.
        thresholds: By feature.
        separable: By feature, whether its controls' quantiles left a gap to put the threshold into.
        auc: Area under the ROC curve by feature, and of the whole detector (`severity`).
        agreement: Share of controls judged as labelled, thresholds set on the other half of the prompts.
        agreement_interval: Its 95 % Wilson interval.
        false_positive_rate: Share of coherent controls judged collapsed, held out in the same way.
        true_positive_rate: Share of collapsed controls judged collapsed, held out in the same way.
        total: Controls.
        prompts: Prompts that they are made from.
        shares: By kind and horizon, with the final thresholds.
        roc: Points of the whole detector's ROC curve.
    """

    scale: float
    thresholds: dict[str, float]
    separable: dict[str, bool]
    auc: dict[str, float]
    agreement: float
    agreement_interval: tuple[float, float]
    false_positive_rate: float
    true_positive_rate: float
    total: int
    prompts: int
    shares: tuple[JudgedShare, ...]
    roc: tuple[RocPoint, ...]

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)


def fit_thresholds(controls: Sequence[LabelledFeatures], scale: float) -> tuple[CoherenceDetector, DetectorSetting]:
    """Set a detector's thresholds on labelled controls.

    Each feature is set against the controls that it is there for: excess against scrambled text, repetition against
    loops, all against every coherent kind. A cell is one kind at one horizon. Where the 99 % quantile of the coherent
    cell that reaches furthest lies short of the 5 % quantile of the collapsed cell that reaches least, the threshold
    lies between them: half-way for repetition, and for excess at their geometric mean, nearer to coherent text, because
    a dose garbles a text by and by, and the controls are garbled throughout. Else it is where the larger of the two
    sides' worst error rates is least, so that no kind and no horizon pays for the others, but never so near that more
    than 5 % of a coherent cell is lost. The rule is ours.

    Args:
        controls: Features of both labels, from at least two prompts.
        scale: The scale that they were measured with, nats per token (`shuffle_scale`).

    Raises:
        ControlWindowError: A label has no control: the model's answers are too short to scramble.
    """
    halves = [[row for row in controls if row.prompt % 2 == half] for half in (0, 1)]
    for half in halves:
        missing = {True, False} - {row.collapsed for row in half}
        if missing or not any(row.kind in REPEATING_KINDS for row in half):
            raise ControlWindowError(
                f"coherence cannot be calibrated: {len(controls)} controls do not hold both labels in both halves",
                "use prompts that this model answers with at least six tokens",
            )
    detector, separable = _fit(controls, scale)
    held_out = [
        (row.collapsed, fitted.judge_features(row.features).collapsed)
        for fitted, other in ((_fit(half, scale)[0], other) for half, other in (halves, halves[::-1]))
        for row in other
    ]
    right = sum(label == judged for label, judged in held_out)
    judged_of = {label: [judged for truth, judged in held_out if truth == label] for label in (False, True)}
    severity = np.array([detector.judge_features(row.features).severity for row in controls])
    labels = np.array([row.collapsed for row in controls])
    return detector, DetectorSetting(
        scale=scale,
        thresholds={name: getattr(detector, name) for name in separable},
        separable=separable,
        auc=_areas(controls) | {"severity": area_under_roc(severity[~labels], severity[labels])},
        agreement=right / len(held_out),
        agreement_interval=wilson_interval(right, len(held_out)),
        false_positive_rate=float(np.mean(judged_of[False])),
        true_positive_rate=float(np.mean(judged_of[True])),
        total=len(controls),
        prompts=len({row.prompt for row in controls}),
        shares=_shares(controls, detector),
        roc=_roc(severity[~labels], severity[labels]),
    )


class _Feature(NamedTuple):
    name: str
    kinds: tuple[str, ...]
    value: Callable[[CoherenceFeatures], float]
    tokens: int
    ratio: bool


# Every value grows with collapse, so that one rule sets all thresholds.
_FEATURES = (
    _Feature(
        "onset_excess", ("shuffled", "word_salad", "spliced"), lambda features: features.onset_excess, SHORTEST, True
    ),
    _Feature("mean_excess", SURPRISING_KINDS, lambda features: features.mean_excess, ONSET + WINDOW, True),
    _Feature("window_excess", SURPRISING_KINDS, lambda features: features.window_excess, ONSET + WINDOW, True),
    # Over a whole text, a loop that begins late cannot be told from a story that tells its sentences twice.
    _Feature("distinctness", ("looping",), lambda features: 1 - features.distinctness, SHORTEST, False),
    _Feature(
        "window_distinctness", REPEATING_KINDS, lambda features: 1 - features.window_distinctness, SHORTEST, False
    ),
)


def _fit(controls: Sequence[LabelledFeatures], scale: float) -> tuple[CoherenceDetector, dict[str, bool]]:
    values: dict[str, float] = {}
    separable: dict[str, bool] = {}
    for feature in _FEATURES:
        coherent, collapsed = (_cells(controls, feature, kinds) for kinds in (COHERENT_KINDS, feature.kinds))
        if coherent and collapsed:
            values[feature.name], separable[feature.name] = _threshold(coherent, collapsed, feature.ratio)
        else:
            # No answer is long enough to have anything after its onset.
            values[feature.name], separable[feature.name] = values["onset_excess"], False
    detector = CoherenceDetector(
        scale=scale,
        onset_excess=values["onset_excess"],
        mean_excess=values["mean_excess"],
        window_excess=values["window_excess"],
        distinctness=1 - values["distinctness"],
        window_distinctness=1 - values["window_distinctness"],
        told_twice=TOLD_TWICE,
    )
    return detector, separable


def _cells(controls: Sequence[LabelledFeatures], feature: _Feature, kinds: Sequence[str]) -> list[NDArray[np.float64]]:
    cells: dict[tuple[str, int], list[float]] = {}
    for row in controls:
        if row.kind in kinds and row.features.tokens >= feature.tokens:
            cells.setdefault((row.kind, row.length), []).append(feature.value(row.features))
    return [np.array(values) for values in cells.values()]


def _threshold(
    coherent: list[NDArray[np.float64]], collapsed: list[NDArray[np.float64]], ratio: bool
) -> tuple[float, bool]:
    high = max(float(np.quantile(values, COHERENT_QUANTILE)) for values in coherent)
    low = min(float(np.quantile(values, COLLAPSED_QUANTILE)) for values in collapsed)
    # The undosed answer itself lies at zero: a threshold at or below it would call that collapsed.
    high = max(high, _LEAST)
    if high < low:
        value, separable = (math.sqrt(high * low) if ratio else (high + low) / 2), True
    else:
        # Midpoints between neighbouring values; of equally good ones the middle one, away from both sides.
        pooled = np.unique(np.concatenate([*coherent, *collapsed]))
        cuts = (pooled[1:] + pooled[:-1]) / 2 if len(pooled) > 1 else pooled
        alarms = np.max([1 - np.searchsorted(np.sort(values), cuts) / len(values) for values in coherent], axis=0)
        missed = np.max([np.searchsorted(np.sort(values), cuts) / len(values) for values in collapsed], axis=0)
        error = np.maximum(alarms, missed)
        best = np.flatnonzero(error <= error.min() + 1e-12)
        kept = max(float(np.quantile(values, OVERLAP_QUANTILE)) for values in coherent)
        value, separable = max(float(cuts[best[len(best) // 2]]), kept, _LEAST), False
    return (value if ratio else min(value, 1 - _LEAST)), separable


def _areas(controls: Sequence[LabelledFeatures]) -> dict[str, float]:
    areas = {}
    for feature in _FEATURES:
        coherent, collapsed = (_cells(controls, feature, kinds) for kinds in (COHERENT_KINDS, feature.kinds))
        if coherent and collapsed:
            areas[feature.name] = area_under_roc(np.concatenate(coherent), np.concatenate(collapsed))
    return areas


def _shares(controls: Sequence[LabelledFeatures], detector: CoherenceDetector) -> tuple[JudgedShare, ...]:
    shares = []
    for kind in (*COHERENT_KINDS, *COLLAPSED_KINDS):
        for length in sorted({row.length for row in controls if row.kind == kind}):
            rows = [row for row in controls if (row.kind, row.length) == (kind, length)]
            collapsed = sum(detector.judge_features(row.features).collapsed for row in rows)
            shares.append(JudgedShare(kind, length, collapsed, len(rows)))
    return tuple(shares)


def _roc(negatives: NDArray[np.float64], positives: NDArray[np.float64]) -> tuple[RocPoint, ...]:
    finite = np.concatenate([negatives, positives])
    finite = finite[np.isfinite(finite)]
    cuts = np.unique(np.quantile(finite, np.linspace(0, 1, _ROC_POINTS))) if len(finite) else np.array([1.0])
    return tuple(
        RocPoint(float(cut), float(np.mean(negatives >= cut)), float(np.mean(positives >= cut))) for cut in cuts
    )
