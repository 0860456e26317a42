"""The census of an organism: windows of a large random sample of neurons, so that natural controllers are known.

Every sampled neuron is searched on both branches for every behavior of the organism, on the first eligible evaluation
prompts and on the coarse dose grid only: thresholds are known to a coarse step, which is enough to tell a controller
from the rest. Scouts go first, as in every search; thresholds come from all of these prompts. A slow, resumable job;
its result goes into the organism's card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior, CoherenceDetector, load_behavior
from controlwindow.cells import Rows
from controlwindow.errors import LedgerError
from controlwindow.instruments.dosing import model_budgets
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.jobs.audit.job import SPLIT, eligible_rows
from controlwindow.measuring.detector import calibrate_detector
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import library_versions
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.results import LEDGER_NAME
from controlwindow.runs.scheduler import Scheduler
from controlwindow.statistics import exact_interval, stable_seed
from controlwindow.windows.search import COARSE_COORDINATES, Candidate, SearchTask, WindowSearch
from controlwindow.windows.window import read_search

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class CensusPlan:
    """What a census does.

    Attributes:
        organism: Its name.
        fingerprint: Its weights hash.
        behaviors: Names of the behaviors.
        neurons: Size of the random sample; planted neurons are in it only by chance.
        prompts: Eligible evaluation prompts used.
        seed: Seed of the sample.
    """

    organism: str
    fingerprint: str
    behaviors: tuple[str, ...]
    neurons: int
    prompts: int
    seed: int


def run_census(
    model: Model,
    behaviors: Sequence[str],
    directory: Path,
    *,
    neurons: int = 384,
    prompts: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the census, or go on where it was cut off.

    Args:
        model: The organism.
        behaviors: Names of its behaviors.
        directory: Run directory of the census.
        neurons: Size of the random sample.
        prompts: Eligible evaluation prompts used.
        seed: Seed of the sample.
        progress: Where progress is shown.

    Returns:
        What the card records: sample, grid, prompts, one row per neuron, branch and behavior, and open rates.

    Raises:
        LedgerError: The directory holds another census, or cannot be written.
        BehaviorError: Too few prompts are eligible.
    """
    progress = progress or Silent()
    loaded = {name: load_behavior(name) for name in behaviors}
    plan = CensusPlan(model.name, model.fingerprint, tuple(behaviors), neurons, prompts, seed)
    with Ledger(directory / LEDGER_NAME, create=True) as ledger:
        ledger.lock()
        _commit_plan(ledger, plan)
        generic = generic_pass(model)
        found = ledger.find("coherence", "detector")
        if found is None:
            with progress.stage("setting the coherence detector"):
                detector, _ = calibrate_detector(model, generic, seed)
            found = vars(detector)
            ledger.record("coherence", "detector", found)
        engine = Engine(model, loaded, generic, ledger, CoherenceDetector(**found), progress.rows)
        scheduler = Scheduler(ledger, engine, chunk_rows=CHUNK_ROWS, progress=progress.tick)
        sample = sample_neurons(model, neurons, seed, generic)
        rows: list[dict[str, Any]] = []
        for behavior in loaded.values():
            eligible = eligible_rows(scheduler, behavior)[:prompts]
            searches = [
                WindowSearch(
                    Candidate(str(n), branch, generic.curve(model, n, branch), generic.budget(model, n)),
                    _task(behavior, eligible),
                    eligible,
                )
                for n in sample
                for branch in (1, -1)
            ]
            with progress.stage(f"census: {behavior.name}", searches=searches):
                scheduler.run(f"census {behavior.name}", searches)
            rows += [_row(search, seed) for search in searches]
    return {
        "neurons": len(sample),
        "neurons_total": len(model.neurons),
        "prompts": prompts,
        "seed": seed,
        "coarse_c": list(COARSE_COORDINATES),
        "versions": library_versions(),
        "open": {name: _open_rate(rows, name, len(sample)) for name in loaded},
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
    }


def sample_neurons(model: Model, count: int, seed: int, generic: GenericPass | None = None) -> list[Neuron]:
    """A uniform random sample of neurons, sorted by name; planted ones are in it only by chance.

    Args:
        model: The organism.
        count: Size of the sample.
        seed: Its seed.
        generic: The generic pass, to leave out neurons without a budget: those of experts that it never routes to.
    """
    generator = np.random.default_rng(stable_seed("census", seed))
    chosen = [int(i) for i in generator.permutation(len(model.neurons))]
    if generic is not None:
        budgets = model_budgets(model, generic)
        chosen = [i for i in chosen if np.isfinite(budgets[i])]
    return [model.neurons[i] for i in sorted(chosen[:count])]


def _commit_plan(ledger: Ledger, plan: CensusPlan) -> None:
    values = {**vars(plan), "behaviors": list(plan.behaviors)}
    found = ledger.find("plan", "census")
    if found is None:
        ledger.record("plan", "census", values)
    elif found != values:
        different = ", ".join(key for key in values if found.get(key) != values[key])
        raise LedgerError(f"{ledger.path} holds another census: it differs in {different}", "give another --out")


def _task(behavior: Behavior, eligible: Rows) -> SearchTask:
    return SearchTask(
        behavior=behavior.name,
        split=SPLIT,
        prompts=tuple(row["prompt"] for row in eligible),
        horizon=behavior.horizons[-1],
        target_outcomes=behavior.target_outcomes,
        level=behavior.threshold,
        positions=behavior.positions,
        refine=False,
    )


def _row(search: WindowSearch, seed: int) -> dict[str, Any]:
    reading = read_search(search, seed)
    return {
        "behavior": search.task.behavior,
        "neuron": search.candidate.neuron,
        "branch": search.candidate.branch,
        "c0": round(search.candidate.cosine, 4),
        "trigger": _rounded(reading.trigger.value),
        "ceiling": _rounded(reading.ceiling.value),
        "height": round(float(search.flips.mean(axis=1).max()), 4),
        "open": reading.open,
    }


def _open_rate(rows: Sequence[dict[str, Any]], behavior: str, neurons: int) -> dict[str, Any]:
    opened = sorted({row["neuron"] for row in rows if row["behavior"] == behavior and row["open"]})
    low, high = exact_interval(len(opened), neurons)
    return {"k": len(opened), "n": neurons, "interval": [round(low, 6), round(high, 6)], "neurons": opened}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
