"""Forecasts: what is predicted of held-out pairs, committed before the first rollout of any of their neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from controlwindow import geometry
from controlwindow.behaviors import Behavior
from controlwindow.curves import SaturationCurve
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.jobs.law.candidates import Assignment
from controlwindow.jobs.law.fits import Fit, digest_of
from controlwindow.jobs.law.measuring import BRANCHES, pair_name
from controlwindow.jobs.law.session import LawSession
from controlwindow.measuring.flips import trigger_flips
from controlwindow.models import Neuron
from controlwindow.windows.effect_verdicts import Clues
from controlwindow.windows.failure_prediction import predict_failure_mode
from controlwindow.windows.features import Subject, subject_from_json, subjects_of
from controlwindow.windows.predictors import PredictedCeiling
from controlwindow.windows.triggers import BehaviorClass, PredictedTrigger, behavior_class, predict_verdict

Pair = tuple[Neuron, int]


FITTED = ("ceiling", "trigger", "target_trigger", "open")
"""What fits read of a measured calibration pair."""


class Flips(NamedTuple):
    """c of the teacher-forced flips of a pair; None where there is none.

    Attributes:
        flip: Under doses of the neuron.
        injected: With its direction injected past the norm after the FFN; None also where no norm follows.
    """

    flip: float | None
    injected: float | None


def commit_inputs(session: LawSession, assignments: Sequence[Assignment]) -> dict[str, dict[str, Any]]:
    """Read of all assigned pairs what forecasts are made from, once; no rollout of theirs is needed for it.

    Returns:
        By `pair_name`: "subject", "flip", "injected" and "behavior_class".
    """
    names = [pair_name(a.behavior, a.neuron, branch) for a in assignments for branch in BRANCHES]
    found = session.ledger.find_all("inputs")
    if all(name in found for name in names):
        return found
    with session.progress.stage(f"{session.entry.name}: reading the neurons"):
        subjects = _subjects(session, assignments)
        flips = _flips(session, assignments, subjects)
    found = {
        pair_name(a.behavior, a.neuron, branch): {
            "subject": subjects[a.neuron, branch].to_json(),
            **flips[a.behavior, a.neuron, branch]._asdict(),
            "behavior_class": behavior_class(session.behaviors[a.behavior]),
        }
        for a in assignments
        for branch in BRANCHES
    }
    session.ledger.record_all([("inputs", name, values) for name, values in found.items()])
    return found


def commit_evidence(
    session: LawSession, inputs: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Leave in the ledger what the fits read of this model, once all of its calibration pairs are measured."""
    found: dict[str, Any] | None = session.ledger.find("calibration", "evidence")
    if found is None:
        pairs = [
            {
                "behavior": record["behavior"],
                **inputs[name],
                **{key: record[key] for key in (*FITTED, "source")},
            }
            for name, record in measured.items()
        ]
        entry = session.entry
        found = {"model": entry.name, "fingerprint": entry.fingerprint, "lineage": entry.lineage, "pairs": pairs}
        session.ledger.record("calibration", "evidence", found)
    return found


def commit_forecasts(
    session: LawSession,
    assignments: Sequence[Assignment],
    inputs: Mapping[str, Mapping[str, Any]],
    fits: Mapping[str, Fit],
    digests: Mapping[str, str],
) -> None:
    """Commit the fits and, in one transaction after them, the forecast of every held-out pair."""
    ledger, entry = session.ledger, session.entry
    mine = {name: fit for name, fit in fits.items() if name in ("known", f"without {entry.lineage}")}
    if ledger.find("fit", "known") is None:
        ledger.record_all([("fit", name, {**fit.to_record(), **digests}) for name, fit in mine.items()])
    behaviors = {
        pair_name(a.behavior, a.neuron, branch): a.behavior
        for a in assignments
        if a.role == "held_out"
        for branch in BRANCHES
    }
    if all(ledger.sequence("forecast", name) is not None for name in behaviors):
        return
    records = []
    for name, behavior in behaviors.items():
        forecast = forecast_again(mine, entry.lineage, entry.fingerprint, behavior, inputs[name])
        records.append(("forecast", name, {**forecast, "digest": digest_of(forecast)}))
    ledger.record_all(records)


def forecast_again(
    fits: Mapping[str, Fit], lineage: str, fingerprint: str, behavior: str, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """A forecast in both settings: the model known, and its lineage left out (where there are others). Pure.

    Args:
        fits: The fits by name.
        lineage: The model's lineage.
        fingerprint: The model's.
        behavior: The behavior's name.
        inputs: "subject", "flip", "injected" and "behavior_class" of the pair; a committed forecast holds them.
    """
    kept = {key: inputs[key] for key in ("subject", "flip", "injected", "behavior_class")}
    subject, kind = subject_from_json(inputs["subject"]), inputs["behavior_class"]
    flips = Flips(inputs["flip"], inputs["injected"])
    found = {**kept, "known": forecast_pair(fits["known"], subject, flips, kind, behavior, fingerprint)}
    if f"without {lineage}" in fits:
        found["left_out"] = forecast_pair(fits[f"without {lineage}"], subject, flips, kind, behavior, None)
    return found


def forecast_pair(
    fit: Fit, subject: Subject, flips: Flips, kind: BehaviorClass, behavior: str, fingerprint: str | None
) -> dict[str, Any]:
    """What one fit says of one pair. Pure.

    Args:
        fit: The fit.
        subject: What predictors read of the pair.
        flips: Its teacher-forced flips.
        kind: The behavior's class.
        behavior: The behavior.
        fingerprint: The model's, where the fit knows it; None for a held-out lineage.
    """
    calibration = fit.ceilings
    ceiling = calibration.predict(subject, fingerprint=fingerprint, behavior=behavior)
    trigger = fit.triggers.predict(flips.flip, subject.curve, kind, limit=subject.limit)
    injected: PredictedTrigger | None = None
    if subject.curve.plateau is not None:
        # Past the norm the plain curve holds, and every coordinate of the range is reached.
        plain = SaturationCurve(subject.curve.cosine)
        injected = fit.triggers.predict(flips.injected, plain, kind, limit=geometry.RANGE_END)
    values = {
        name: _value(calibration.predict(subject, fingerprint=fingerprint, behavior=behavior, predictor=name))
        for name in sorted(calibration.predictors)
    }
    found: dict[str, Any] = {
        "ceiling": None if ceiling is None else list(ceiling),
        "predictors": values,
        "constant": fit.constant.ceiling(subject.curve),
        "median": None if fingerprint is None else fit.medians[fingerprint],
        "trigger": [trigger.value, trigger.low, trigger.high, trigger.probability_not_reached],
        "method": trigger.method,
        "open": None,
        "probability_open": None,
        "open_if_effect": None,
        "probability_open_if_effect": None,
        "failure_mode": None,
    }
    if ceiling is not None:
        verdict = predict_verdict(ceiling, trigger)
        found["open"], found["probability_open"] = verdict.open, verdict.probability
        clues = Clues(ceiling, subject.limit, flips.flip, kind)
        chance = fit.verdicts.probability(clues, fingerprint)
        found["open_if_effect"], found["probability_open_if_effect"] = chance > 0.5, chance
        found["failure_mode"] = predict_failure_mode(subject, ceiling, trigger, injected)
    return found


def _subjects(session: LawSession, assignments: Sequence[Assignment]) -> dict[tuple[str, int], Subject]:
    names = list(dict.fromkeys(a.neuron for a in assignments))
    pairs: list[Pair] = [(Neuron.parse(name), branch) for name in names for branch in BRANCHES]
    sizes = session.plan.sizes
    found = subjects_of(session.model, pairs, session.generic, tier=sizes.tier, seed=sizes.seed)
    return {(str(neuron), branch): subject for (neuron, branch), subject in zip(pairs, found, strict=True)}


def _flips(
    session: LawSession, assignments: Sequence[Assignment], subjects: Mapping[tuple[str, int], Subject]
) -> dict[tuple[str, str, int], Flips]:
    """Flips of every pair; find prompts are read, no rollout is made."""
    found: dict[tuple[str, str, int], Flips] = {}
    for name, behavior in session.behaviors.items():
        neurons = [Neuron.parse(a.neuron) for a in assignments if a.behavior == name]
        pairs: list[Pair] = [(neuron, branch) for neuron in neurons for branch in BRANCHES]
        capped = [pair for pair in pairs if subjects[str(pair[0]), pair[1]].curve.plateau is not None]
        plain = _read_flips(session, behavior, pairs, injected=False)
        past = _read_flips(session, behavior, capped, injected=True)
        found |= {(name, str(pair[0]), pair[1]): Flips(plain.get(pair), past.get(pair)) for pair in pairs}
    return found


def _read_flips(
    session: LawSession, behavior: Behavior, pairs: Sequence[Pair], *, injected: bool
) -> dict[Pair, float | None]:
    """Flips of some pairs; none where the behavior has no two answers to tell apart, so that only priors speak."""
    if not pairs:
        return {}
    try:
        return trigger_flips(session.model, behavior, pairs, session.generic, injected=injected)
    except (BehaviorError, ScreenError):
        return {}


def _value(ceiling: PredictedCeiling | None) -> float | None:
    return None if ceiling is None else ceiling.value
