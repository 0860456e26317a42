"""The census of an organism: windows of a large random sample of neurons, so that natural controllers are known.

Every sampled neuron is searched on both branches for every behavior of the organism, on the first eligible evaluation
prompts and on the coarse dose grid only: thresholds are known to a coarse step, which is enough to tell a controller
from the rest. Scouts go first, as in every search; thresholds come from all of these prompts. A slow, resumable job;
its result goes into the organism's card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.instruments.dosing import model_budgets
from controlwindow.instruments.generic import GenericPass
from controlwindow.jobs.audit.job import BRANCHES
from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.jobs.stages.eligible import eligible_rows
from controlwindow.jobs.stages.searching import SPLIT
from controlwindow.models import Model, Neuron
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent, numbered
from controlwindow.runs.records import behavior_record, library_versions, model_record
from controlwindow.runs.session import Session, prepare
from controlwindow.statistics import exact_interval, stable_seed
from controlwindow.windows.search import COARSE_COORDINATES, Candidate, SearchTask, WindowSearch
from controlwindow.windows.window import read_search

CHUNK_ROWS = 1024


@dataclass
class Census:
    """One census of an organism. It looks into the ledger first, so that one cut off goes on where it was.

    Attributes:
        model: The organism.
        behaviors: Its behaviors.
        plan: What is to be done.
        ledger: An open ledger.
        progress: Where progress is shown.
    """

    model: Model
    behaviors: tuple[Behavior, ...]
    plan: CensusPlan
    ledger: Ledger
    progress: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        stages = [f"census: {behavior.name}" for behavior in self.behaviors]
        self.progress = numbered(self.progress, self.model.name, stages)

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        behaviors = [("behavior", b.name, behavior_record(b)) for b in self.behaviors]
        return [("model", "model", model_record(self.model)), *behaviors]

    def run(self) -> dict[str, Any]:
        """Do the whole job.

        Returns:
            What the card records: sample, grid, prompts, one row per neuron, branch and behavior, and open rates.

        Raises:
            BehaviorError: Too few prompts are eligible.
            LedgerError: The ledger cannot be written.
        """
        plan = self.plan
        prepared = prepare(self.model, self.ledger, self.progress, seed=plan.seed, chunk_rows=CHUNK_ROWS)
        session = prepared.session(self.behaviors)
        sample = sample_neurons(self.model, plan.neurons, plan.seed, prepared.generic)
        rows = [row for behavior in self.behaviors for row in self._searched(session, behavior, sample)]
        found = {
            "neurons": len(sample),
            "neurons_total": len(self.model.neurons),
            "prompts": plan.prompts,
            "seed": plan.seed,
            "coarse_c": list(COARSE_COORDINATES),
            "versions": library_versions(),
            "open": {b.name: _open_rate(rows, b.name, len(sample)) for b in self.behaviors},
            "columns": list(rows[0]) if rows else [],
            "rows": [list(row.values()) for row in rows],
        }
        self.ledger.remember("result", plan.kind, lambda: found)
        return found

    def _searched(self, session: Session, behavior: Behavior, sample: list[Neuron]) -> list[dict[str, Any]]:
        generic, model = session.generic, self.model
        eligible = eligible_rows(session.scheduler, behavior)[: self.plan.prompts]
        searches = [
            WindowSearch(
                Candidate(str(n), branch, generic.curve(model, n, branch), generic.budget(model, n)),
                _task(behavior, eligible),
                eligible,
            )
            for n in sample
            for branch in BRANCHES
        ]
        with self.progress.stage(f"census: {behavior.name}", searches=searches):
            session.scheduler.run(f"census {behavior.name}", searches)
        return [_row(search, self.plan.seed) for search in searches]


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
