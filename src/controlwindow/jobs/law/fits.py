"""What is fitted on calibration pairs: predictors of ceilings and triggers, and the baselines they are held against.

Pure: from what the ledgers hold to the fits, so that anyone can fit again and compare.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controlwindow.curves import Curve, curve_from_json
from controlwindow.geometry import dose_for
from controlwindow.values import map_floats
from controlwindow.windows.calibrating import REPORTED_CEILING, fit_predictors
from controlwindow.windows.calibration import Calibration, Observation
from controlwindow.windows.effect_verdicts import Clues, EffectObservation, EffectVerdicts, fit_effect_verdicts
from controlwindow.windows.features import subject_from_json
from controlwindow.windows.triggers import TriggerCalibration, TriggerObservation, fit_triggers

Evidence = Mapping[str, Any]
"""One model's calibration as its ledger holds it: name, fingerprint, lineage, pairs."""


@dataclass(frozen=True)
class Constant:
    """The best constant: a ceiling in c, or a dose in t, for every neuron.

    Attributes:
        kind: "coordinate" or "dose".
        value: c, or t.
        error: Its mean absolute error in c on calibration pairs, lineages weighing the same; None where no pair reached
            its ceiling.
    """

    kind: str
    value: float
    error: float | None

    def ceiling(self, curve: Curve) -> float | None:
        """The ceiling that it predicts for a neuron; None where its curve does not get there."""
        value = self.value if self.kind == "coordinate" else plain_coordinate(self.value, curve)
        return None if curve.plateau is not None and value >= curve.plateau else value


@dataclass(frozen=True)
class Fit:
    """Everything fitted on one set of calibration pairs.

    Attributes:
        ceilings: Predictors of the ceiling.
        triggers: Predictor of the trigger.
        verdicts: Whether a window is open, given an effect.
        constant: The best constant.
        medians: Median ceiling in c by fingerprint; None where the median neuron has none.
    """

    ceilings: Calibration
    triggers: TriggerCalibration
    verdicts: EffectVerdicts
    constant: Constant
    medians: dict[str, float | None]

    def to_record(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {
            "ceilings": json.loads(self.ceilings.to_json()),
            "triggers": json.loads(self.triggers.to_json()),
            "verdicts": self.verdicts.to_record(),
            "constant": vars(self.constant),
            "medians": self.medians,
        }


def fit_names(evidence: Sequence[Evidence]) -> list[str]:
    """Names of the fits: "known" on all models, and "without LINEAGE" for each lineage, where there are several."""
    lineages = sorted({e["lineage"] for e in evidence})
    return ["known", *(f"without {lineage}" for lineage in lineages if len(lineages) > 1)]


def fit_one(evidence: Sequence[Evidence], name: str) -> Fit:
    """One of the fits by name. Pure."""
    return _fit([e for e in evidence if name != f"without {e['lineage']}"])


def fit_all(evidence: Sequence[Evidence]) -> dict[str, Fit]:
    """All fits by name.

    Args:
        evidence: Calibration of every model.
    """
    return {name: fit_one(evidence, name) for name in fit_names(evidence)}


def fits_digest(fits: Mapping[str, Fit], evidence: Sequence[Evidence]) -> dict[str, str]:
    """Hashes of the fits and of the evidence they come from."""
    return {
        "fits": digest_of({name: fit.to_record() for name, fit in fits.items()}),
        "evidence": digest_of([dict(e) for e in evidence]),
    }


def digest_of(value: Any) -> str:
    """A hash of JSON values; floats to 9 digits, below which machines may round otherwise."""
    return hashlib.sha256(
        json.dumps(map_floats(value, lambda x: float(f"{x:.9g}")), sort_keys=True).encode()
    ).hexdigest()


def observations_of(evidence: Sequence[Evidence]) -> list[Observation]:
    """Ceilings as the predictors take them."""
    return [
        Observation(
            model=e["model"],
            fingerprint=e["fingerprint"],
            lineage=e["lineage"],
            behavior=pair["behavior"],
            subject=subject_from_json(pair["subject"]),
            ceiling=pair["ceiling"],
        )
        for e in evidence
        for pair in e["pairs"]
    ]


def trigger_observations_of(evidence: Sequence[Evidence]) -> list[TriggerObservation]:
    """Triggers as the predictor takes them."""
    found = []
    for e in evidence:
        for pair in e["pairs"]:
            subject = subject_from_json(pair["subject"])
            found.append(
                TriggerObservation(
                    model=e["model"],
                    fingerprint=e["fingerprint"],
                    lineage=e["lineage"],
                    behavior=pair["behavior"],
                    behavior_class=pair["behavior_class"],
                    neuron=subject.neuron,
                    branch=subject.branch,
                    curve=subject.curve,
                    flip=pair["flip"],
                    trigger=pair["trigger"],
                    limit=subject.limit,
                )
            )
    return found


def effect_observations_of(evidence: Sequence[Evidence], ceilings: Calibration) -> list[EffectObservation]:
    """Pairs with an effect, their ceilings as the fitted predictors give them."""
    found = []
    for e in evidence:
        for pair in e["pairs"]:
            if pair["target_trigger"] is None:
                continue
            subject = subject_from_json(pair["subject"])
            ceiling = ceilings.predict(subject, fingerprint=e["fingerprint"], behavior=pair["behavior"])
            if ceiling is not None:
                clues = Clues(ceiling, subject.limit, pair["flip"], pair["behavior_class"])
                found.append(EffectObservation(e["fingerprint"], clues, pair["open"]))
    return found


def plain_coordinate(dose: float, curve: Curve) -> float:
    """c that a dose stands for on the plain curve: what collapses text is the coordinate (LAW)."""
    cosine = curve.cosine
    return (cosine + dose) / math.sqrt(1 + 2 * cosine * dose + dose * dose)


def best_constant(pairs: Sequence[tuple[str, Curve, float]]) -> Constant:
    """The constant with the least mean absolute error in c, lineages weighing the same.

    Candidates: the weighted median of c, that of t on the plain curve, and the reported c = 0.82.

    Args:
        pairs: Lineage, curve and measured ceiling in c of every pair that reached one.

    Returns:
        The constant; the reported one where no pair reached a ceiling, as under a cap.
    """
    if not pairs:
        return Constant("coordinate", REPORTED_CEILING, None)
    names = [lineage for lineage, _, _ in pairs]
    weights = np.array([1.0 / names.count(lineage) for lineage in names])
    ceilings = np.array([c for _, _, c in pairs])
    doses = np.array([dose_for(min(c, 1 - 1e-9), curve.cosine) for _, curve, c in pairs])
    candidates = (
        ("coordinate", weighted_median(ceilings, weights)),
        ("dose", weighted_median(doses, weights)),
        ("coordinate", REPORTED_CEILING),
    )
    scored = []
    for kind, value in candidates:
        predicted = np.array(
            [value if kind == "coordinate" else plain_coordinate(value, curve) for _, curve, _ in pairs]
        )
        error = float(np.abs(predicted - ceilings) @ weights / weights.sum())
        scored.append((error, Constant(kind, value, error)))
    return min(scored, key=lambda found: found[0])[1]


def weighted_median(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    """The smallest value at which half of the weight is reached.

    Example:
        >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]))
        2.0
    """
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(total, total[-1] / 2))])


def _fit(evidence: Sequence[Evidence]) -> Fit:
    reached = [
        (e["lineage"], curve_from_json(pair["subject"]["curve"]), pair["ceiling"])
        for e in evidence
        for pair in e["pairs"]
        if pair["ceiling"] is not None
    ]
    ceilings = fit_predictors(observations_of(evidence))
    return Fit(
        ceilings=ceilings,
        triggers=fit_triggers(trigger_observations_of(evidence)),
        verdicts=fit_effect_verdicts(effect_observations_of(evidence, ceilings)),
        constant=best_constant(reached),
        medians={e["fingerprint"]: _median(e["pairs"]) for e in evidence},
    )


def _median(pairs: Sequence[Mapping[str, Any]]) -> float | None:
    """Median ceiling, pairs that never collapse lying above all others."""
    values = [math.inf if pair["ceiling"] is None else pair["ceiling"] for pair in pairs]
    middle = float(np.quantile(values, 0.5, method="lower")) if values else math.inf
    return middle if math.isfinite(middle) else None
