"""Forecasts: what is predicted of held-out pairs, committed before the first rollout of any of their neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.models import Neuron
from controlwindow.validation.law.candidates import Assignment, Role
from controlwindow.validation.law.fits import Fit, digest_of
from controlwindow.validation.law.measuring import BRANCHES, pair_name
from controlwindow.validation.law.session import Session
from controlwindow.windows.failure_prediction import predict_failure_mode
from controlwindow.windows.features import Subject, subject_from_json, subjects_of
from controlwindow.windows.predictors import PredictedCeiling
from controlwindow.windows.triggers import (
    behavior_class,
    predict_verdict,
    trigger_flips,
)

Pair = tuple[Neuron, int]


def commit_evidence(
    session: Session, assignments: Sequence[Assignment], measured: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Leave in the ledger what the fits read of this model, once all of its calibration pairs are measured."""
    found: dict[str, Any] | None = session.ledger.find("calibration", "evidence")
    if found is None:
        subjects = _subjects(session, assignments, "calibration")
        flips = _flips(session, assignments, "calibration")
        pairs = [
            {
                "behavior": record["behavior"],
                "behavior_class": behavior_class(session.behaviors[record["behavior"]]),
                "subject": subjects[record["neuron"], record["branch"]].to_json(),
                "flip": flips[record["behavior"], record["neuron"], record["branch"]],
                "ceiling": record["ceiling"],
                "trigger": record["trigger"],
                "source": record["source"],
            }
            for record in measured.values()
        ]
        entry = session.entry
        found = {"model": entry.name, "fingerprint": entry.fingerprint, "lineage": entry.lineage, "pairs": pairs}
        session.ledger.record("calibration", "evidence", found)
    return found


def commit_forecasts(
    session: Session, assignments: Sequence[Assignment], fits: Mapping[str, Fit], digests: Mapping[str, str]
) -> None:
    """Commit the fits and, in one transaction after them, the forecast of every held-out pair."""
    ledger, entry = session.ledger, session.entry
    mine = {name: fit for name, fit in fits.items() if name in ("known", f"without {entry.lineage}")}
    if ledger.find("fit", "known") is None:
        ledger.record_all([("fit", name, {**fit.to_record(), **digests}) for name, fit in mine.items()])
    held_out = [a for a in assignments if a.role == "held_out"]
    names = [pair_name(a.behavior, a.neuron, branch) for a in held_out for branch in BRANCHES]
    if all(ledger.sequence("forecast", name) is not None for name in names):
        return
    with session.progress.stage(f"{entry.name}: predicting"):
        subjects = _subjects(session, assignments, "held_out")
        flips = _flips(session, assignments, "held_out")
    records = []
    for assignment in held_out:
        kind = behavior_class(session.behaviors[assignment.behavior])
        for branch in BRANCHES:
            subject = subjects[assignment.neuron, branch]
            flip = flips[assignment.behavior, assignment.neuron, branch]
            forecast = {
                "subject": subject.to_json(),
                "flip": flip,
                "behavior_class": kind,
                **{
                    label: forecast_pair(fit, subject, flip, kind, assignment.behavior, known)
                    for label, fit, known in _settings(mine, entry.fingerprint, entry.lineage)
                },
            }
            name = pair_name(assignment.behavior, assignment.neuron, branch)
            records.append(("forecast", name, {**forecast, "digest": digest_of(forecast)}))
    ledger.record_all(records)


def forecast_pair(
    fit: Fit, subject: Subject, flip: float | None, kind: str, behavior: str, fingerprint: str | None
) -> dict[str, Any]:
    """What one fit says of one pair. Pure.

    Args:
        fit: The fit.
        subject: What predictors read of the pair.
        flip: c of its teacher-forced flip.
        kind: The behavior's class.
        behavior: The behavior.
        fingerprint: The model's, where the fit knows it; None for a held-out lineage.
    """
    calibration = fit.ceilings
    ceiling = calibration.predict(subject, fingerprint=fingerprint, behavior=behavior)
    trigger = fit.triggers.predict(
        flip, subject.curve, kind, limit=subject.limit, fingerprint=fingerprint, behavior=behavior
    )
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
        "failure_mode": None,
    }
    if ceiling is not None:
        verdict = predict_verdict(ceiling, trigger)
        found["open"], found["probability_open"] = verdict.open, verdict.probability
        found["failure_mode"] = predict_failure_mode(subject, ceiling, trigger)
    return found


def refold(
    fits: Mapping[str, Fit], entry_lineage: str, fingerprint: str, behavior: str, forecast: Mapping[str, Any]
) -> dict[str, Any]:
    """The forecast that the fits give again for what a committed one says of its pair."""
    subject = subject_from_json(forecast["subject"])
    return {
        "subject": forecast["subject"],
        "flip": forecast["flip"],
        "behavior_class": forecast["behavior_class"],
        **{
            label: forecast_pair(fit, subject, forecast["flip"], forecast["behavior_class"], behavior, known)
            for label, fit, known in _settings(fits, fingerprint, entry_lineage)
        },
    }


def _settings(fits: Mapping[str, Fit], fingerprint: str, lineage: str) -> list[tuple[str, Fit, str | None]]:
    """The two settings of a forecast: the model known, and its lineage left out (where there are others)."""
    settings: list[tuple[str, Fit, str | None]] = [("known", fits["known"], fingerprint)]
    if f"without {lineage}" in fits:
        settings.append(("left_out", fits[f"without {lineage}"], None))
    return settings


def _subjects(session: Session, assignments: Sequence[Assignment], role: Role) -> dict[tuple[str, int], Subject]:
    names = list(dict.fromkeys(a.neuron for a in assignments if a.role == role))
    pairs: list[Pair] = [(Neuron.parse(name), branch) for name in names for branch in BRANCHES]
    sizes = session.plan.sizes
    found = subjects_of(session.model, pairs, session.generic, tier=sizes.tier, seed=sizes.seed)
    return {(str(neuron), branch): subject for (neuron, branch), subject in zip(pairs, found, strict=True)}


def _flips(session: Session, assignments: Sequence[Assignment], role: Role) -> dict[tuple[str, str, int], float | None]:
    """c of the teacher-forced flip of every pair of a role; no rollout is made."""
    found: dict[tuple[str, str, int], float | None] = {}
    for name, behavior in session.behaviors.items():
        neurons = [Neuron.parse(a.neuron) for a in assignments if a.role == role and a.behavior == name]
        pairs: list[Pair] = [(neuron, branch) for neuron in neurons for branch in BRANCHES]
        if pairs:
            flips = trigger_flips(session.model, behavior, pairs, session.generic, seed=session.plan.sizes.seed)
            found |= {(name, str(neuron), branch): flip for (neuron, branch), flip in flips.items()}
    return found


def _value(ceiling: PredictedCeiling | None) -> float | None:
    return None if ceiling is None else ceiling.value
