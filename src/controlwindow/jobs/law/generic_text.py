"""What the choice of generic text does to predictions: other prompts, shorter answers, sampled ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from controlwindow.errors import ModelError
from controlwindow.instruments.generic import GenericPass
from controlwindow.jobs.law.candidates import Assignment
from controlwindow.jobs.law.measuring import BRANCHES
from controlwindow.jobs.law.session import LawSession
from controlwindow.models import Neuron
from controlwindow.windows.calibration import Calibration, calibration_from_json
from controlwindow.windows.features import subjects_of
from controlwindow.windows.sensitivity import GenericText, read_generic, standard_variants

_VARIANTS = frozenset({"even prompts", "half length", "sampled, seed 1"})
"""Of the standard variants one of each kind: the whole set costs a generic pass and probes each."""

_NEURONS = 8
"""Held-out neurons that the influence is read on."""


def generic_influence(session: LawSession, held_out: Sequence[Assignment]) -> dict[str, Any]:
    """Predicted ceilings and budgets under other generic texts, beside those under the plan's own.

    The calibration is the committed one; only what is read of the model changes.

    Args:
        session: The model at work.
        held_out: Its held-out assignments.

    Returns:
        By variant: median and largest change of the predicted ceiling in c, and of log budget.
    """
    chosen = [a for a in held_out if a.source == "random"][:_NEURONS]
    pairs = [(Neuron.parse(a.neuron), branch) for a in chosen for branch in BRANCHES]
    behaviors = [a.behavior for a in chosen for _ in BRANCHES]
    committed = session.ledger.find("fit", "known")
    assert committed is not None
    calibration = _calibration(committed)
    own = session.generic
    before = _predicted(session, own, pairs, behaviors, calibration)
    found: dict[str, Any] = {}
    standard = [variant for variant in standard_variants(session.model) if variant.name in _VARIANTS]
    for variant in (*standard, GenericText("behaviors' prompts", _behavior_prompts(session))):
        try:
            other = read_generic(session.model, variant)
        except ModelError as error:
            found[variant.name] = {"n": 0, "reason": error.message}
            continue
        after = _predicted(session, other, pairs, behaviors, calibration)
        both = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
        moved = np.array([abs(a - b) for a, b in both])
        budgets = np.array(
            [abs(np.log(other.budget(session.model, n) / own.budget(session.model, n))) for n, _ in pairs]
        )
        found[variant.name] = {
            "n": len(both),
            "median_change": float(np.median(moved)) if len(moved) else None,
            "largest_change": float(moved.max()) if len(moved) else None,
            "median_log_budget_change": float(np.median(budgets)),
        }
    return found


def _calibration(committed: dict[str, Any]) -> Calibration:
    return calibration_from_json(json.dumps(committed["ceilings"]))


def _predicted(
    session: LawSession,
    generic: GenericPass,
    pairs: Sequence[tuple[Neuron, int]],
    behaviors: Sequence[str],
    calibration: Calibration,
) -> list[float | None]:
    sizes = session.plan.sizes
    subjects = subjects_of(session.model, pairs, generic, tier=sizes.tier, seed=sizes.seed)
    values = []
    for subject, behavior in zip(subjects, behaviors, strict=True):
        predicted = calibration.predict(subject, fingerprint=session.entry.fingerprint, behavior=behavior)
        values.append(None if predicted is None else predicted.value)
    return values


def _behavior_prompts(session: LawSession) -> tuple[str, ...]:
    """Half as many prompts of the behaviors' find splits as the generic text has, in turn."""
    count = max(2, len(session.generic.prompts) // 2 // len(session.behaviors))
    return tuple(p.text for behavior in session.behaviors.values() for p in behavior.prompts("find")[:count])
