"""One model at work: its ledger, engine, detector and prompts, prepared once or taken from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from controlwindow.behaviors import Behavior, CoherenceDetector
from controlwindow.cells import Rows
from controlwindow.errors import BehaviorError, LedgerError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.proof import prove_hooks
from controlwindow.jobs.audit.job import eligible_rows
from controlwindow.jobs.law.candidates import Role
from controlwindow.jobs.law.plan import LawPlan, ModelPlan, commit_plan, load_behaviors
from controlwindow.measuring.detector import calibrate_detector
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.results import LEDGER_NAME
from controlwindow.runs.scheduler import Scheduler
from controlwindow.statistics import stable_seed

LEAST_PROMPTS = 8
"""Fewest prompts of a role: with fewer, half of them is no share worth a threshold."""


@dataclass(frozen=True)
class Session:
    """What every stage of one model works with.

    Attributes:
        model: The model.
        entry: Its part of the plan.
        plan: The whole plan.
        ledger: Its ledger, locked.
        generic: Its generic pass.
        engine: Measures cells.
        scheduler: Runs planners.
        behaviors: Behaviors that have enough eligible prompts, by name.
        undosed: Rows of the undosed rollouts by behavior and role; the roles share no prompt.
        progress: Where progress is shown.
    """

    model: Model
    entry: ModelPlan
    plan: LawPlan
    ledger: Ledger
    generic: GenericPass
    engine: Engine
    scheduler: Scheduler
    behaviors: dict[str, Behavior]
    undosed: dict[tuple[str, Role], Rows]
    progress: Progress


def ledger_path(out: Path, entry: ModelPlan) -> Path:
    """Where a model's ledger lies inside the run directory."""
    return out / entry.directory / LEDGER_NAME


@contextmanager
def open_session(plan: LawPlan, entry: ModelPlan, out: Path, progress: Progress | None = None) -> Iterator[Session]:
    """Load a model and prepare it: plan, hooks' self-proof, generic pass, detector, undosed rollouts.

    Args:
        plan: The whole plan.
        entry: The model's part of it.
        out: The run directory.
        progress: Where progress is shown.

    Raises:
        LedgerError: The ledger holds another plan, or the model changed.
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
    with Ledger(ledger_path(out, entry), create=True) as ledger:
        ledger.lock()
        commit_plan(ledger, plan, model)
        if ledger.find("proof", "hooks") is None:
            with progress.stage(f"{entry.name}: proving the hooks"):
                ledger.record("proof", "hooks", {"relative_error": prove_hooks(model), "layers": model.layers})
        with progress.stage(f"{entry.name}: generic pass"):
            generic = generic_pass(model)
        engine = Engine(model, behaviors, generic, ledger, progress=progress.rows)
        engine.detector = _detector(model, generic, ledger, plan.sizes.seed, progress)
        scheduler = Scheduler(ledger, engine, chunk_rows=plan.sizes.chunk_rows, progress=progress.tick)
        undosed: dict[tuple[str, Role], Rows] = {}
        usable = {}
        for name, behavior in behaviors.items():
            with progress.stage(f"{entry.name}, {name}: undosed rollouts"):
                halves = _halves(scheduler, behavior, plan, ledger)
            if halves is not None:
                usable[name] = behavior
                undosed[name, "calibration"], undosed[name, "held_out"] = halves
        if not usable:
            raise BehaviorError(
                f"{entry.name} has too few eligible prompts for every planned behavior",
                "use prompts on which this model shows the source state",
            )
        yield Session(model, entry, plan, ledger, generic, engine, scheduler, usable, undosed, progress)


def _detector(model: Model, generic: GenericPass, ledger: Ledger, seed: int, progress: Progress) -> CoherenceDetector:
    found = ledger.find("coherence", "detector")
    if found is None:
        with progress.stage(f"{model.name}: setting the coherence detector"):
            detector, calibration = calibrate_detector(model, generic, seed)
        found = {"detector": asdict(detector), "calibration": asdict(calibration)}
        ledger.record("coherence", "detector", found)
    return CoherenceDetector(**found["detector"])


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
