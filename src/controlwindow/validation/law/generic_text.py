"""What the choice of generic text does to a prediction's inputs: other prompts, shorter answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from controlwindow.instruments.generic import GENERIC_TOKENS, GenericPass, generic_pass
from controlwindow.models import Neuron
from controlwindow.validation.law.candidates import Assignment
from controlwindow.validation.law.measuring import BRANCHES
from controlwindow.validation.law.session import Session
from controlwindow.windows.calibration import Calibration, calibration_from_json
from controlwindow.windows.features import subjects_of

_NEURONS = 16
"""Held-out neurons that the influence is read on."""


def generic_influence(session: Session, held_out: Sequence[Assignment]) -> dict[str, Any]:
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
    half = len(own.prompts) // 2
    variants: dict[str, tuple[Sequence[str], int]] = {
        "first half of the prompts": (own.prompts[:half], GENERIC_TOKENS),
        "second half of the prompts": (own.prompts[half:], GENERIC_TOKENS),
        "half the length": (own.prompts, GENERIC_TOKENS // 2),
        "the behaviors' prompts": (_behavior_prompts(session), GENERIC_TOKENS),
    }
    before = _predicted(session, own, pairs, behaviors, calibration)
    found: dict[str, Any] = {}
    for name, (prompts, length) in variants.items():
        if len(prompts) < 2:
            continue
        other = generic_pass(session.model, prompts, length)
        after = _predicted(session, other, pairs, behaviors, calibration)
        both = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
        moved = np.array([abs(a - b) for a, b in both])
        budgets = np.array(
            [abs(np.log(other.budget(session.model, n) / own.budget(session.model, n))) for n, _ in pairs]
        )
        found[name] = {
            "n": len(both),
            "median_change": float(np.median(moved)) if len(moved) else None,
            "largest_change": float(moved.max()) if len(moved) else None,
            "median_log_budget_change": float(np.median(budgets)),
        }
    return found


def _calibration(committed: dict[str, Any]) -> Calibration:
    return calibration_from_json(json.dumps(committed["ceilings"]))


def _predicted(
    session: Session,
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


def _behavior_prompts(session: Session) -> list[str]:
    """Half as many prompts of the behaviors' find splits as the generic text has, in turn."""
    count = max(2, len(session.generic.prompts) // 2 // len(session.behaviors))
    return [p.text for behavior in session.behaviors.values() for p in behavior.prompts("find")[:count]]
