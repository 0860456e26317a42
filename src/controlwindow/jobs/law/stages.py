"""The two stages of one model: calibrate, and after the fits over all models predict and measure the held-out pairs.

Each stage loads the model, takes what is done from its ledger, and leaves the rest there; so stages of different models
can run in processes of their own, and a stage that was cut off is gone on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from controlwindow.jobs.law.candidates import Assignment, assign, known_answers
from controlwindow.jobs.law.details import measure_details
from controlwindow.jobs.law.first_order import FirstOrder
from controlwindow.jobs.law.fits import Fit
from controlwindow.jobs.law.forecasts import commit_evidence, commit_forecasts, commit_inputs
from controlwindow.jobs.law.measuring import measure_role
from controlwindow.jobs.law.plan import LawModel, LawPlan, card_of
from controlwindow.jobs.law.session import LawSession, ledger_path, open_session
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress

DONE = "finished"


def calibrate_model(plan: LawPlan, entry: LawModel, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Choose the neurons, measure those for calibration, and commit what the fits will read.

    Args:
        plan: The whole plan.
        entry: The model's part of it.
        out: The run directory.
        progress: Where progress is shown.

    Returns:
        The model's evidence (`fits.Evidence`).

    Raises:
        ControlWindowError: As `session.open_session`.
    """
    found: dict[str, Any] | None = _found(plan, entry, out, "calibration", "evidence")
    if found is not None:
        return found
    with open_session(plan, entry, out, progress) as session:
        assignments = _assignments(session)
        inputs = commit_inputs(session, assignments)
        measured = measure_role(session, assignments, "calibration")
        return commit_evidence(session, inputs, measured)


def hold_out_model(
    plan: LawPlan,
    entry: LawModel,
    out: Path,
    fits: Mapping[str, Fit],
    digests: Mapping[str, str],
    progress: Progress | None = None,
) -> None:
    """Commit the forecasts of a model's held-out pairs, then measure them, then what is varied on some of them.

    Args:
        plan: The whole plan.
        entry: The model's part of it.
        out: The run directory.
        fits: Fits by name (`fits.fit_all`).
        digests: Their hashes.
        progress: Where progress is shown.

    Raises:
        ControlWindowError: As `session.open_session`.
    """
    if _found(plan, entry, out, DONE, "law") is not None:
        return
    with open_session(plan, entry, out, progress) as session:
        assignments = _assignments(session)
        commit_forecasts(session, assignments, commit_inputs(session, assignments), fits, digests)
        measured = measure_role(session, assignments, "held_out")
        measure_details(session, assignments)
        session.ledger.record(DONE, "law", {"pairs": len(measured)})


def _found(plan: LawPlan, entry: LawModel, out: Path, kind: str, name: str) -> Any | None:
    """A record of a ledger that holds this very plan; None where there is none yet, so that the model is needed."""
    path = ledger_path(out, entry)
    if not path.is_file():
        return None
    with Ledger(path) as ledger:
        planned = ledger.find("plan", plan.kind)
        same = planned is not None and not plan.differences(LawPlan.from_record(planned))
        return ledger.find(kind, name) if same else None


def _assignments(session: LawSession) -> tuple[Assignment, ...]:
    """The model's assignments, chosen once; first-order scores of the chosen neurons are recorded with them."""
    found = session.ledger.find("assignments", "law")
    if found is not None:
        return tuple(Assignment(**values) for values in found)
    orders = {
        name: FirstOrder(session, behavior)
        for name, behavior in session.behaviors.items()
        if _has_contrast(session, name)
    }
    model, sizes = session.model, session.plan.sizes
    silent = frozenset(
        str(model.neurons.at(layer, int(column)))
        for layer in range(model.layers)
        for column in np.flatnonzero(np.isnan(session.generic.budgets(model, layer)))
    )
    ranked = {name: order.ranked for name, order in orders.items()}
    chosen = assign(model, card_of(model), list(session.behaviors), ranked, silent, sizes)
    records: list[tuple[str, str, Any]] = [
        ("assignments", "law", [asdict(a) for a in chosen]),
        ("answers", "card", known_answers(card_of(model))),
    ]
    for name, order in orders.items():
        neurons = list(dict.fromkeys(a.neuron for a in chosen if a.behavior == name))
        records.append(("first_order", name, order.to_record(neurons)))
    session.ledger.record_all(records)
    return chosen


def _has_contrast(session: LawSession, name: str) -> bool:
    behavior = session.behaviors[name]
    contrast = [p for p in behavior.all_prompts if p.split == "find" and p.role == "negative"]
    return bool(contrast) or behavior.inline_contrast is not None
