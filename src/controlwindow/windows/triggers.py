"""Predicted triggers, and the verdict that a predicted ceiling and a predicted trigger give together.

A trigger is predicted from what its class of behavior usually takes (mode switches, refusals and tasks differ: LAW
reports about 0.3, 0.45 and 0.6), and from the *flip* of the neuron itself: the control coordinate at which, with both
answers teacher-forced under the dose, the target answer becomes likelier than the source answer for the median prompt
(ours; `running.flips`). How flips and triggers go together is learnt from calibration neurons, those that no dose
triggers included: most random neurons are of that kind, and a flip says how likely a neuron is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from controlwindow.behaviors import Behavior
from controlwindow.curves import Curve, curve_from_json
from controlwindow.errors import UsageError
from controlwindow.windows.predictors import INTERVAL_LEVEL, PredictedCeiling
from controlwindow.windows.residuals import Residuals, residuals_of

BehaviorClass = Literal["switch", "refusal", "task"]

REPORTED_TRIGGERS: dict[BehaviorClass, float] = {"switch": 0.3, "refusal": 0.45, "task": 0.6}
"""c at which earlier work saw triggers (LAW; method section 3): the prior where no controller was calibrated."""

FLIP_BINS: tuple[float, ...] = (0.3, 0.45, 0.6, 0.75)
"""Flips in c between these edges are alike in how often a trigger follows."""

LEAST_CONTROLLERS = 8
"""Fewest triggered calibration neurons from which a line or a class's prior is learnt."""

_PRIOR_SPREAD = 0.15
"""Half width of the interval around a prior that nothing was calibrated for."""

_PRIOR_COUNT = 2.0
"""Neurons that the common rate of triggers is worth in a bin of its own."""


@dataclass(frozen=True)
class TriggerObservation:
    """One measured trigger of a calibration neuron.

    Attributes:
        model: The model's name.
        fingerprint: Its weights hash.
        lineage: What was trained together.
        behavior: The behavior.
        behavior_class: Its class.
        neuron: The neuron.
        branch: +1 or −1.
        curve: Its curve on the branch.
        flip: c of the teacher-forced flip; None where there was none.
        trigger: Measured trigger in c; None where it was not reached.
        limit: The largest c that the search asked for.
    """

    model: str
    fingerprint: str
    lineage: str
    behavior: str
    behavior_class: BehaviorClass
    neuron: str
    branch: int
    curve: Curve
    flip: float | None
    trigger: float | None
    limit: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {**asdict(self), "curve": self.curve.to_json()}


def trigger_observation_from_json(values: Mapping[str, Any]) -> TriggerObservation:
    """Read `TriggerObservation.to_json`."""
    return TriggerObservation(**{**values, "curve": curve_from_json(values["curve"])})


class PredictedTrigger(NamedTuple):
    """A predicted trigger in c.

    Attributes:
        value: The trigger; None where it is not expected to be reached.
        low: Lower end of the 90 % interval of a trigger that is reached.
        high: Its upper end.
        probability_not_reached: That no dose triggers the behavior.
        flip: c of the teacher-forced flip; None where there was none.
        expected: The trigger if there is one, whether or not it is expected to be reached.
        method: "log_odds_flip", or "class_prior" where there was no flip, or none was calibrated.
    """

    value: float | None
    low: float
    high: float
    probability_not_reached: float
    flip: float | None
    expected: float
    method: str


@dataclass(frozen=True)
class TriggerCalibration:
    """How flips and triggers go together.

    Attributes:
        priors: By class of behavior, the triggers of calibration controllers as quantiles around 0.
        intercept: Trigger where the flip is 0, in c.
        slope: Trigger per flip.
        residuals: Around that line; None where too few controllers flipped, so that priors alone count.
        rates: Probability that a trigger is reached: without a flip, then by the bins of `FLIP_BINS`.
        neurons: Observations fitted.
        controllers: How many of them were triggered.
    """

    priors: dict[str, Residuals]
    intercept: float
    slope: float
    residuals: Residuals | None
    rates: tuple[float, ...]
    neurons: int
    controllers: int

    def predict(
        self,
        flip: float | None,
        curve: Curve,
        behavior_class: BehaviorClass,
        *,
        limit: float,
    ) -> PredictedTrigger:
        """Predicted trigger of a neuron on a branch.

        Args:
            flip: c of its teacher-forced flip; None where there is none.
            curve: Its curve; a trigger at or below c0 needs no dose, and is not predicted.
            behavior_class: The behavior's class.
            limit: The largest c that a search asks for.
        """
        tails = ((1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2)
        if flip is None or self.residuals is None:
            method = "class_prior"
            expected, low, high = self._prior(behavior_class, tails)
        else:
            method = "log_odds_flip"
            line = self.intercept + self.slope * flip
            expected, low, high = (line + self.residuals.quantile(level) for level in (0.5, *tails))
        floor = curve.cosine
        expected, low, high = (min(max(value, floor), 1.0) for value in (expected, low, high))
        missed = 1 - self.rates[rate_bin(flip)]
        if expected >= limit:
            missed = max(missed, 0.5 + 1e-9)
        value = expected if missed <= 0.5 else None
        return PredictedTrigger(value, low, high, missed, flip, expected, method)

    def _prior(self, behavior_class: BehaviorClass, tails: tuple[float, float]) -> tuple[float, float, float]:
        known = self.priors.get(behavior_class)
        if known is None:
            middle = REPORTED_TRIGGERS[behavior_class]
            return middle, middle - _PRIOR_SPREAD, middle + _PRIOR_SPREAD
        return known.quantile(0.5), known.quantile(tails[0]), known.quantile(tails[1])

    def to_json(self) -> str:
        """Plain text for a file or the ledger."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


NOTHING_CALIBRATED = TriggerCalibration({}, 0.0, 1.0, None, (0.0, *[1.0] * (len(FLIP_BINS) + 1)), 0, 0)
"""Reported priors, and triggers exactly where there is a flip: what is known before any neuron was measured."""


def trigger_calibration_from_json(text: str) -> TriggerCalibration:
    """Read `TriggerCalibration.to_json`.

    Raises:
        UsageError: A key is missing.
    """
    data = json.loads(text)
    try:
        return TriggerCalibration(
            priors={name: _residuals(values) for name, values in data["priors"].items()},
            intercept=data["intercept"],
            slope=data["slope"],
            residuals=None if data["residuals"] is None else _residuals(data["residuals"]),
            rates=tuple(data["rates"]),
            neurons=data["neurons"],
            controllers=data["controllers"],
        )
    except KeyError as error:
        raise UsageError(f"this trigger calibration lacks {error}", "fit it again with fit_triggers") from error


def _residuals(values: Mapping[str, Any]) -> Residuals:
    return Residuals(tuple(values["quantiles"]), values["count"])


def rate_bin(flip: float | None) -> int:
    """Place of a flip among the rates: 0 without one, then by `FLIP_BINS`.

    Example:
        >>> rate_bin(None), rate_bin(0.1), rate_bin(0.5), rate_bin(0.9)
        (0, 1, 3, 5)
    """
    return 0 if flip is None else 1 + int(np.searchsorted(FLIP_BINS, flip))


def behavior_class(behavior: Behavior) -> BehaviorClass:
    """The class of a behavior, by its outcomes and oracles: a refusal, a switch of mode (language), or a task."""
    definition = behavior.definition
    if definition.outcomes == "refusal":
        return "refusal"
    switches = all(oracle.type == "language" for name, oracle in definition.oracles.items() if name == "target")
    return "switch" if switches else "task"


def fit_triggers(observations: Sequence[TriggerObservation]) -> TriggerCalibration:
    """Fit how flips and triggers go together; every lineage weighs the same.

    Args:
        observations: Calibration neurons, those without a trigger included. To judge the result on a lineage, leave
            its observations out altogether.

    Returns:
        The calibration; `NOTHING_CALIBRATED` without observations.
    """
    if not observations:
        return NOTHING_CALIBRATED
    triggered = [o for o in observations if o.trigger is not None]
    priors: dict[str, Residuals] = {}
    for name in REPORTED_TRIGGERS:
        mine = [o for o in triggered if o.behavior_class == name]
        if len(mine) >= LEAST_CONTROLLERS:
            priors[name] = _distribution([_reached(o) for o in mine], mine)
    both = [o for o in triggered if o.flip is not None]
    intercept, slope, residuals = 0.0, 1.0, None
    if len(both) >= LEAST_CONTROLLERS:
        flips, values, weights = np.array([o.flip for o in both]), np.array([_reached(o) for o in both]), _weights(both)
        slope = _line(flips, values, weights)
        intercept = float(weights @ (values - slope * flips))
        residuals = _distribution((values - intercept - slope * flips).tolist(), both)
    return TriggerCalibration(
        priors=priors,
        intercept=round(intercept, 6),
        slope=round(slope, 6),
        residuals=residuals,
        rates=_rates(observations),
        neurons=len(observations),
        controllers=len(triggered),
    )


def _reached(observation: TriggerObservation) -> float:
    assert observation.trigger is not None
    return observation.trigger


def _line(flips: Any, values: Any, weights: Any) -> float:
    """Slope between 0 (the flip says nothing of where) and 1 (it says it exactly), least squares."""
    centred = flips - float(weights @ flips)
    variance = float(weights @ centred**2)
    if variance < 1e-8:
        return 0.0
    return float(np.clip(weights @ (centred * values) / variance, 0.0, 1.0))


def _weights(observations: Sequence[TriggerObservation]) -> Any:
    lineages = [o.lineage for o in observations]
    weights = np.array([1.0 / lineages.count(lineage) for lineage in lineages])
    return weights / weights.sum()


def _distribution(values: Sequence[float], observations: Sequence[TriggerObservation]) -> Residuals:
    reached = np.ones(len(values), dtype=bool)
    return residuals_of(np.array(values), reached, _weights(observations), len(values))


def _rates(observations: Sequence[TriggerObservation]) -> tuple[float, ...]:
    """Share of neurons with a trigger in each bin, drawn towards the share of all; what is empty has that share."""
    weights = _weights(observations) * len(observations)
    reached = np.array([o.trigger is not None for o in observations], dtype=float)
    bins = np.array([rate_bin(o.flip) for o in observations])
    common = float(weights @ reached) / float(weights.sum())
    found = []
    for place in range(len(FLIP_BINS) + 2):
        mine = bins == place
        hits, total = float(weights[mine] @ reached[mine]), float(weights[mine].sum())
        found.append(round((hits + _PRIOR_COUNT * common) / (total + _PRIOR_COUNT), 6))
    return tuple(found)


class PredictedVerdict(NamedTuple):
    """A predicted verdict.

    Attributes:
        open: Whether the trigger is expected below the ceiling.
        probability: Of being open.
    """

    open: bool
    probability: float


def predict_verdict(ceiling: PredictedCeiling, trigger: PredictedTrigger) -> PredictedVerdict:
    """The verdict of two predictions, both taken as independent normal errors within their 90 % intervals (ours).

    Example:
        >>> trigger = PredictedTrigger(0.3, 0.2, 0.4, 0.0, 0.3, 0.3, "log_odds_flip")
        >>> predict_verdict(PredictedCeiling(0.8, 0.7, 0.9), trigger).open
        True
    """
    score = stats.norm.ppf((1 + INTERVAL_LEVEL) / 2)
    top = 1.0 if ceiling.value is None else ceiling.value
    low = top if ceiling.low is None else ceiling.low
    high = max(top, 1.0 if ceiling.high is None else ceiling.high)
    spread = math.hypot((high - low) / (2 * score), (trigger.high - trigger.low) / (2 * score))
    gap = top - trigger.expected
    below = float(stats.norm.cdf(gap / spread)) if spread > 0 else float(gap > 0)
    opened = trigger.value is not None and trigger.value < top
    return PredictedVerdict(opened, round((1 - trigger.probability_not_reached) * below, 6))
