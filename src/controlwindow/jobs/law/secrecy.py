"""Which models of a validation have neurons that are not to be named."""

from __future__ import annotations

from pathlib import Path

from controlwindow.behaviors import load_behavior
from controlwindow.jobs.law.plan import LawPlan
from controlwindow.jobs.law.session import ledger_path
from controlwindow.runs.ledger import Ledger


def secret_behaviors(plan: LawPlan, out: Path) -> dict[str, frozenset[str]]:
    """Sensitive behaviors of models that are no organisms, by model; models without one are left out.

    Args:
        plan: The plan.
        out: The run directory.

    Raises:
        LedgerError: A ledger cannot be read.
        BehaviorError: A behavior cannot be read.
    """
    found = {}
    for entry in plan.models:
        with Ledger(ledger_path(out, entry)) as ledger:
            organism = (ledger.find("model", "model") or {})["organism"]
        behaviors = [load_behavior(reference.source) for reference in entry.behaviors]
        sensitive = frozenset(behavior.name for behavior in behaviors if behavior.sensitive)
        if sensitive and not organism:
            found[entry.name] = sensitive
    return found
