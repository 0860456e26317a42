"""The window: trigger, ceiling, height, verdict and failure mode of one neuron on one branch, with their evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.curves import SaturationCurve
from controlwindow.showing import Showable, drawn
from controlwindow.statistics import REPLICATES, bootstrap_indices, stable_seed, wilson_interval
from controlwindow.windows.failure import Reasons, failure_mode
from controlwindow.windows.precision import Float32Check
from controlwindow.windows.search import COLLAPSE_LEVEL, Candidate, WindowSearch, median_coordinate, summarise
from controlwindow.windows.thresholds import Threshold, first_bracket, probability_open, threshold

DECIDED = 0.05
"""A verdict is decided when the paired bootstrap's probability lies outside [5 %, 95 %]."""

Shares = dict[str, dict[str, float]]
Maybe = float | None
MaybeInterval = tuple[float | None, float | None]


@dataclass(frozen=True)
class DosePoint:
    """What one measured dose did, on all eligible prompts or on scouts only.

    Attributes:
        t: Dose in budget units.
        c: Control coordinate on the saturation curve.
        c_measured: Median measured cosine at generated positions.
        c_measured_interval: Its middle half over rollouts.
        n: Rollouts; fewer than the eligible prompts where scouts alone tried the dose (`search`).
        collapsed: Share collapsed at the last horizon.
        shares: Share of each outcome by horizon.
        target_interval: Wilson interval of the share of flips at the last horizon.
        ties: Decoding steps whose top-two margin was below 1e-4.
    """

    t: float
    c: float
    c_measured: Maybe
    c_measured_interval: tuple[float, float] | None
    n: int
    collapsed: float
    shares: Shares
    target_interval: tuple[float, float]
    ties: int


@dataclass(frozen=True, repr=False)
class Window(Showable):
    """One neuron's control window on one branch for one behavior (method section 1). Cosines unless said otherwise.

    Attributes:
        neuron: The neuron's name.
        behavior: The behavior's name.
        branch: +1 or −1.
        candidate_from: planted, named, screen or random.
        trigger: First c at which half of the eligible rollouts flip; None when not reached below the ceiling.
        trigger_interval: 95 % bootstrap over prompts; an end is None when not reached.
        trigger_t: The trigger in budget units.
        ceiling: First c at which half of the rollouts have collapsed; None when not reached.
        ceiling_interval: As for the trigger.
        ceiling_t: The ceiling in budget units.
        ceiling_predicted: The default predictor's ceiling, committed before the neuron's first rollout; None when it
            lies at or above the plateau, or nothing is predicted (`ceiling_reachable`).
        ceiling_predicted_interval: Its 90 % interval; an end at or above the plateau is None.
        predictions: Every predictor's ceiling.
        height: Largest share of coherent flips at a dose measured on all prompts.
        height_interval: Wilson interval of it (of the largest share, hence an optimistic one).
        verdict: "open" iff the trigger is reached below the ceiling, else "closed".
        verdict_probability: Paired bootstrap probability that trigger < ceiling.
        decided: Whether that probability lies outside 5–95 %.
        failure_mode: Why a closed window is closed.
        propagation: 1 − cos²(Δr_last, v) at the ceiling, where no trigger was found.
        n_eligible: Eligible prompts.
        c0: Undosed cosine on this branch.
        budget: B, by `budget_kind`.
        residual_norm: ‖r_L‖.
        write_norm: ‖v‖.
        triggers_by_outcome: Trigger of each target outcome by horizon.
        outcomes: Share of each outcome by horizon at `outcomes_at`.
        outcomes_at: The dose of the largest share of flips, or the last one below the ceiling when there is none.
        doses: Every measured dose, those on scouts only among them.
        sampled: Share of coherent flips when sampled at temperature 1 at `outcomes_at`, by seed; open windows only.
        other_branch: The window of the other branch, from `measure_window`.
        budget_kind: plain (‖r_L‖/‖v‖), capped (‖m‖/‖v‖ under a norm after the FFN) or routed (with the router weight).
        plateau: c that a norm after the FFN lets a dose of any size tend to; None without one.
        routed_share: Share of generic positions routed to the neuron's expert; None in a dense layer.
        ceiling_reachable: Whether the predicted ceiling lies below the plateau; None when nothing is predicted.
        injected_trigger: Trigger of the same direction injected after the norm, for capped neurons without a trigger;
            None when never, or not asked for.
        curve: The curve on this branch, as `curves.curve_from_json` reads it; None in records of older versions.
        float32_check: What a check in float32 found, where the model is in half precision and the verdict is close.
    """

    neuron: str
    behavior: str
    branch: int
    candidate_from: str
    trigger: Maybe
    trigger_interval: MaybeInterval
    trigger_t: Maybe
    ceiling: Maybe
    ceiling_interval: MaybeInterval
    ceiling_t: Maybe
    ceiling_predicted: Maybe
    ceiling_predicted_interval: MaybeInterval
    predictions: dict[str, Maybe]
    height: float
    height_interval: tuple[float, float]
    verdict: str
    verdict_probability: float
    decided: bool
    failure_mode: str | None
    propagation: Maybe
    n_eligible: int
    c0: float
    budget: float
    residual_norm: float
    write_norm: float
    triggers_by_outcome: dict[str, dict[str, Maybe]]
    outcomes: Shares
    outcomes_at: float
    doses: tuple[DosePoint, ...] = ()
    sampled: dict[str, float] = field(default_factory=dict)
    other_branch: Window | None = field(default=None, repr=False)
    budget_kind: str = "plain"
    plateau: Maybe = None
    routed_share: Maybe = None
    ceiling_reachable: bool | None = None
    injected_trigger: Maybe = None
    curve: dict[str, Any] | None = field(default=None, repr=False)
    float32_check: Float32Check | None = None

    @property
    def open(self) -> bool:
        """Whether the trigger is reached below the ceiling."""
        return self.verdict == "open"

    def __repr__(self) -> str:
        trigger, ceiling = (
            "not reached" if value is None else f"{value:.2f}" for value in (self.trigger, self.ceiling)
        )
        verdict = self.verdict if self.failure_mode is None else f"{self.verdict} ({self.failure_mode})"
        return (
            f"<Window {self.neuron} {self.branch:+d} {self.behavior}: {verdict}, trigger {trigger}, ceiling {ceiling}, "
            f"height {self.height:.0%}, {len(self.doses)} doses>"
        )

    def plot(self) -> Any:
        """The dose response as an Altair chart, drawn as the report draws it.

        Raises:
            UsageError: It was read without its doses.
        """
        return drawn(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the other branch."""
        values = asdict(self)
        del values["other_branch"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Window:
        """Read `to_dict`, also after a round through JSON."""
        doses = tuple(
            DosePoint(
                **{
                    **dose,
                    "target_interval": tuple(dose["target_interval"]),
                    "c_measured_interval": _pair(dose["c_measured_interval"]),
                }
            )
            for dose in values["doses"]
        )
        intervals = {name: _pair(value) for name, value in values.items() if name.endswith("_interval")}
        check = values.get("float32_check")
        return cls(
            **{
                **values,
                **intervals,
                "doses": doses,
                "float32_check": None if check is None else Float32Check.from_dict(check),
            }
        )


def _pair(value: Any) -> Any:
    return None if value is None else tuple(value)


@dataclass(frozen=True)
class Measured:
    """What a finished search found, before the reasons are asked for."""

    trigger: Threshold
    ceiling: Threshold
    probability: float
    peak: int

    @property
    def decided(self) -> bool:
        """Whether the bootstrap's probability lies outside 5–95 %."""
        return not DECIDED <= self.probability <= 1 - DECIDED

    @property
    def open(self) -> bool:
        """Trigger reached below the ceiling."""
        return self.trigger.value is not None and (
            self.ceiling.value is None or self.trigger.value < self.ceiling.value
        )


def read_search(search: WindowSearch, seed: int) -> Measured:
    """Trigger and ceiling of a finished search, with intervals by a bootstrap over prompts that pairs the two.

    Args:
        search: A search that asks for nothing more.
        seed: Seed of the run; the neuron's own bootstrap seed follows from it.
    """
    coordinates, flips, collapses = search.coordinates, search.flips, search.collapses
    candidate = search.candidate
    replicates = bootstrap_indices(
        flips.shape[1],
        REPLICATES,
        stable_seed("bootstrap", seed, search.task.behavior, candidate.neuron, candidate.branch),
    )
    ceiling = threshold(coordinates, collapses, COLLAPSE_LEVEL, replicates)
    trigger = threshold(coordinates, flips, search.task.level, replicates)
    if trigger.value is not None and ceiling.value is not None and trigger.value >= ceiling.value:
        trigger = Threshold(None, (trigger.interval[0], None), None)
    return Measured(
        trigger=trigger,
        ceiling=ceiling,
        probability=probability_open(coordinates, flips, collapses, search.task.level, replicates),
        peak=_peak(flips.mean(axis=1), collapses.mean(axis=1)),
    )


def _peak(flips: Any, collapses: Any) -> int:
    """The dose to show: the largest share of flips, or the last dose before half has collapsed when nothing flips."""
    if flips.max() > 0:
        return int(flips.argmax())
    ceiling = first_bracket(collapses, COLLAPSE_LEVEL)
    return len(collapses) - 1 if ceiling is None else max(ceiling - 1, 0)


def assemble(
    search: WindowSearch,
    measured: Measured,
    behavior: Behavior,
    prediction: dict[str, Any],
    candidate_from: str,
    reasons: Reasons,
    sampled: dict[int, Rows],
    float32_check: Float32Check | None = None,
) -> Window:
    """Put a window together from what was measured.

    Args:
        search: The finished search.
        measured: Its reading.
        behavior: The behavior.
        prediction: The committed prediction, as recorded.
        candidate_from: Where the candidate comes from.
        reasons: What was measured where no trigger was found.
        sampled: Rows of sampled rollouts at the shown dose, by seed.
        float32_check: What a check in float32 found, if there was one.
    """
    candidate, last = search.candidate, str(search.task.horizon)
    flips = search.flips
    tried = dict(zip(search.doses, search.rows, strict=True)) | search.scouted
    points = tuple(_dose_point(t, tried[t], candidate.coordinate(t), behavior, last) for t in sorted(tried))
    shown = next(point for point in points if point.t == search.doses[measured.peak])
    predicted, plateau = prediction["values"][prediction["default"]], candidate.curve.plateau
    return Window(
        neuron=candidate.neuron,
        behavior=behavior.name,
        branch=candidate.branch,
        candidate_from=candidate_from,
        trigger=measured.trigger.value,
        trigger_interval=measured.trigger.interval,
        trigger_t=_dose(search, measured.trigger.value),
        ceiling=measured.ceiling.value,
        ceiling_interval=measured.ceiling.interval,
        ceiling_t=_dose(search, measured.ceiling.value),
        ceiling_predicted=None if predicted is None else predicted[0],
        ceiling_predicted_interval=(None, None) if predicted is None else (predicted[1], predicted[2]),
        predictions={name: None if value is None else value[0] for name, value in prediction["values"].items()},
        height=float(flips.mean(axis=1).max()),
        height_interval=wilson_interval(int(flips.sum(axis=1).max()), len(search.undosed)),
        verdict="open" if measured.open else "closed",
        verdict_probability=measured.probability,
        decided=measured.decided,
        failure_mode=None if measured.open else failure_mode(measured.ceiling.value is not None, reasons, plateau),
        propagation=reasons.propagation,
        n_eligible=len(search.undosed),
        c0=candidate.cosine,
        budget=candidate.budget,
        residual_norm=prediction["residual_norm"],
        write_norm=prediction["write_norm"],
        triggers_by_outcome=triggers_by_outcome(search, behavior, measured.ceiling.value),
        outcomes=shown.shares,
        outcomes_at=shown.c,
        doses=points,
        sampled={
            str(seed): float(np.mean([row["outcomes"][last] in behavior.target_outcomes for row in found]))
            for seed, found in sampled.items()
        },
        float32_check=float32_check,
        budget_kind=prediction.get("budget_kind", "plain"),
        plateau=plateau,
        routed_share=prediction.get("routed_share"),
        ceiling_reachable=None if predicted is None else predicted[0] is not None,
        injected_trigger=reasons.injected_trigger,
        curve=candidate.curve.to_json(),
    )


def injection_search(search: WindowSearch, residual_norm: float) -> WindowSearch:
    """The search that injects a capped neuron's direction after the norm, where the plain curve holds.

    The vector t·‖r_L‖·s·u is added at the output of the neuron's block, so that every coordinate below 1 is reached: if
    it flips the behavior at a coordinate above the plateau, the norm is why the neuron cannot (method section 3).

    Args:
        search: The neuron's own search.
        residual_norm: ‖r_L‖.
    """
    candidate = search.candidate
    curve = SaturationCurve(candidate.cosine)
    return WindowSearch(
        Candidate(candidate.neuron, candidate.branch, curve, residual_norm, site="residual"),
        replace(search.task, ceiling=False, fill=False),
        search.undosed,
    )


def _dose_point(t: float, rows: Rows, coordinate: float, behavior: Behavior, last: str) -> DosePoint:
    shares = {str(horizon): summarise(rows, str(horizon)) for horizon in behavior.horizons}
    middle, spread = median_coordinate(rows)
    flips = sum(row["outcomes"][last] in behavior.target_outcomes for row in rows)
    return DosePoint(
        t=t,
        c=float(coordinate),
        c_measured=middle,
        c_measured_interval=spread,
        n=len(rows),
        collapsed=shares[last].get("collapsed", 0.0),
        shares=shares,
        target_interval=wilson_interval(flips, len(rows)),
        ties=sum(row["ties"] for row in rows),
    )


def _dose(search: WindowSearch, coordinate: float | None) -> float | None:
    return None if coordinate is None else search.candidate.dose(coordinate)


def triggers_by_outcome(search: WindowSearch, behavior: Behavior, ceiling: float | None) -> dict[str, dict[str, Maybe]]:
    """Trigger of each target outcome at each horizon, from the doses the main search measured."""
    once = np.arange(len(search.task.prompts))[None]
    found: dict[str, dict[str, Maybe]] = {}
    for outcome in (o for o in behavior.outcomes if o in behavior.target_outcomes):
        found[outcome] = {}
        for horizon in behavior.horizons:
            events = search.events(frozenset({outcome}), horizon)
            value = threshold(search.coordinates, events, search.task.level, once).value
            found[outcome][str(horizon)] = (
                None if value is None or (ceiling is not None and value >= ceiling) else value
            )
    return found
