"""One model of a validation at work: a session with its part of the plan, and prompts for both roles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.errors import BehaviorError, LedgerError
from controlwindow.jobs.law.candidates import Role
from controlwindow.jobs.law.plan import LawModel, LawPlan, load_behaviors
from controlwindow.jobs.stages.eligible import eligible_rows
from controlwindow.models import load_model
from controlwindow.runs.command import note_directory
from controlwindow.runs.kinds import LEDGER_NAME, run_ledger
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import commit_plan
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.provenance import at_work
from controlwindow.runs.records import model_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import Session, prepare
from controlwindow.statistics import stable_seed

LEAST_PROMPTS = 8
"""Fewest prompts of a role: with fewer, half of them is no share worth a threshold."""


@dataclass(frozen=True)
class LawSession(Session):
    """What every stage of one model works with; `behaviors` are those that have enough eligible prompts.

    Attributes:
        entry: The model's part of the plan.
        plan: The whole plan.
        undosed: Rows of the undosed rollouts by behavior and role; the roles share no prompt.
    """

    entry: LawModel
    plan: LawPlan
    undosed: dict[tuple[str, Role], Rows]


def ledger_path(out: Path, entry: LawModel) -> Path:
    """Where a model's ledger lies inside the run directory."""
    return out / entry.directory / LEDGER_NAME


@contextmanager
def open_session(plan: LawPlan, entry: LawModel, out: Path, progress: Progress | None = None) -> Iterator[LawSession]:
    """Load a model and prepare it: plan, hooks' self-proof, generic pass, detector, undosed rollouts.

    Args:
        plan: The whole plan.
        entry: The model's part of it.
        out: The run directory.
        progress: Where progress is shown.

    Raises:
        LedgerError: The ledger holds another run, one begun with other libraries, or the model changed.
        BehaviorError: No behavior has enough eligible prompts.
        OperationError: The hooks failed their self-proof.
    """
    progress = progress or Silent()
    model = load_model(entry.source)
    if model.fingerprint != entry.fingerprint:
        raise LedgerError(
            f"{entry.name} has weights {model.fingerprint[:12]}, but {entry.fingerprint[:12]} were planned",
            "restore the model, or start again with another --out",
        )
    behaviors = load_behaviors(entry)
    with run_ledger(out / entry.directory) as ledger:
        commit_plan(ledger, plan, [("model", "model", model_record(model))])
        note_directory(out)
        prepared = prepare(model, ledger, progress, seed=plan.sizes.seed, chunk_rows=plan.sizes.chunk_rows)
        session = prepared.session(list(behaviors.values()))
        undosed: dict[tuple[str, Role], Rows] = {}
        usable = {}
        for name, behavior in behaviors.items():
            with progress.stage(f"{entry.name}, {name}: undosed rollouts"):
                halves = _halves(session.scheduler, behavior, plan, ledger)
            if halves is not None:
                usable[name] = behavior
                undosed[name, "calibration"], undosed[name, "held_out"] = halves
        if not usable:
            raise BehaviorError(
                f"{entry.name} has too few eligible prompts for every planned behavior",
                "use prompts on which this model shows the source state",
            )
        with at_work(ledger):
            yield LawSession(**{**vars(session), "behaviors": usable}, entry=entry, plan=plan, undosed=undosed)


def _halves(scheduler: Scheduler, behavior: Behavior, plan: LawPlan, ledger: Ledger) -> tuple[Rows, Rows] | None:
    """Eligible prompts for calibration and for held-out neurons; None, and a record of why, where they are too few."""
    try:
        eligible = eligible_rows(scheduler, behavior)
        if len(eligible) < 2 * LEAST_PROMPTS:
            raise BehaviorError(
                f"behavior '{behavior.name}': {len(eligible)} eligible prompts, {2 * LEAST_PROMPTS} are needed"
            )
    except BehaviorError as error:
        if ledger.find("skipped", behavior.name) is None:
            ledger.record("skipped", behavior.name, {"reason": error.message})
        return None
    order = np.random.default_rng(stable_seed("law prompts", behavior.name, plan.sizes.seed)).permutation(len(eligible))
    count = min(plan.sizes.prompts, len(eligible) // 2)
    calibration, held_out = order[:count], order[-count:]
    return [eligible[i] for i in sorted(calibration)], [eligible[i] for i in sorted(held_out)]
