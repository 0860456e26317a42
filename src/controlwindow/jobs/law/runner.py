"""The law held against any set of models, from a committed plan to the law document."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from controlwindow.errors import LedgerError
from controlwindow.jobs.law.document import law_document
from controlwindow.jobs.law.fits import Evidence, Fit, fit_all, fit_names, fit_one, fits_digest
from controlwindow.jobs.law.order import describe, prove_order
from controlwindow.jobs.law.plan import LawModel, LawPlan
from controlwindow.jobs.law.records import collect
from controlwindow.jobs.law.secrecy import secret_behaviors
from controlwindow.jobs.law.stages import calibrate_model, hold_out_model
from controlwindow.report.pages.law.document import shareable_law
from controlwindow.runs.kinds import LEDGER_NAME, kind_of
from controlwindow.runs.progress import Progress, Silent, Within


def run_law(plan: LawPlan, out: Path, *, jobs: int = 1, progress: Progress | None = None) -> dict[str, Any]:
    """Calibrate, fit, commit forecasts, measure and score; errors as `controlwindow.validate`.

    Args:
        plan: The plan.
        out: The run directory.
        jobs: Models measured at the same time.
        progress: Where progress is shown.

    Returns:
        The law document, without what names neurons of sensitive behaviors on models that are no organisms.
    """
    progress = progress or Silent()
    if (out / LEDGER_NAME).is_file():
        raise LedgerError(f"{out} holds a run of another kind ({kind_of(out).name}, not law)", "give another --out")
    evidence = _each(plan, jobs, progress, "calibrating", calibrate_model, (plan, out))
    with progress.stage("fitting the predictors"):
        fits = _fits(evidence, jobs)
        digests = fits_digest(fits, evidence)
    _each(plan, jobs, progress, "held-out neurons", hold_out_model, (plan, out), (fits, digests))
    with progress.stage("proving the order"):
        proof = prove_order(plan, out, fits)
    if not proof.proved:
        raise LedgerError(
            f"the ledgers in {out} do not prove the order of events: {describe(proof.problems)}",
            "start again with another --out",
        )
    with progress.stage("scoring"):
        document = law_document(collect(plan, out), proof.to_json())
        return shareable_law(document, secret_behaviors(plan, out))


def _each(
    plan: LawPlan,
    jobs: int,
    progress: Progress,
    title: str,
    work: Callable[..., Any],
    before: tuple[LawPlan, Path],
    after: tuple[Any, ...] = (),
) -> list[Any]:
    """Do a stage for every model, one after the other or several at a time; results in the order of the plan."""
    if jobs <= 1 or len(plan.models) == 1:
        return [
            work(before[0], entry, before[1], *after, Within(progress, f"{title}, {place}/{len(plan.models)}"))
            for place, entry in enumerate(plan.models, 1)
        ]
    context = multiprocessing.get_context("spawn")
    results: dict[str, Any] = {}
    with (
        progress.stage(f"{title}: {len(plan.models)} models") as stage,
        ProcessPoolExecutor(min(jobs, len(plan.models)), mp_context=context, initializer=_one_thread) as pool,
    ):
        waiting = {pool.submit(work, before[0], entry, before[1], *after): entry for entry in _largest_first(plan)}
        for done in as_completed(waiting):
            results[waiting[done].directory] = done.result()
            stage.update(len(results), len(plan.models))
    return [results[entry.directory] for entry in plan.models]


def _fits(evidence: Sequence[Evidence], jobs: int) -> dict[str, Fit]:
    """All fits, several at a time: each chooses its features anew, lineage by lineage."""
    names = fit_names(evidence)
    if jobs <= 1 or len(names) == 1:
        return fit_all(evidence)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(names)), mp_context=context, initializer=_one_thread) as pool:
        return dict(zip(names, pool.map(fit_one, repeat(evidence), names), strict=True))


def _largest_first(plan: LawPlan) -> list[LawModel]:
    return sorted(plan.models, key=lambda entry: -entry.layers * entry.width**2 * len(entry.behaviors))


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
