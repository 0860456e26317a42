"""Base against aligned: whether a base model already tells the contrast apart with the neurons that gate it later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.circuits import results
from controlwindow.circuits.estimates import paired_difference
from controlwindow.circuits.selection import Circuit, overlap
from controlwindow.circuits.sweep import CircuitSweep
from controlwindow.errors import ModelError
from controlwindow.jobs.circuit.detecting import Detections, detections
from controlwindow.jobs.circuit.plan import CircuitPlan
from controlwindow.jobs.stages.eligible import undosed_rows
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare
from controlwindow.screens import find_screen
from controlwindow.statistics import percentile_interval


@dataclass
class BaseComparison:
    """The same circuit in the base model.

    Attributes:
        aligned: The aligned model.
        behavior: The behavior.
        plan: The circuit's plan.
        model: The base model.
        ledger: The base model's own ledger.
        progress: Where progress is shown.
    """

    aligned: Model
    behavior: Behavior
    plan: CircuitPlan
    model: Model
    ledger: Ledger
    progress: Progress

    def run(self, circuit: Circuit, sweep: CircuitSweep, eligible: Rows, known: Detections | None) -> dict[str, Any]:
        """Ablate the aligned model's circuit here, at the same strengths and on the same prompts.

        The base model need not show the behavior, so what counts is how many outcomes change at all.

        Args:
            circuit: The aligned model's circuit.
            sweep: Its finished sweep there.
            eligible: The aligned model's undosed rows on the prompts that are reported.
            known: The aligned model's detections.
        """
        check_pair(self.aligned, self.model)
        name = self.behavior.name
        prepared = prepare(self.model, self.ledger, self.progress, seed=self.plan.seed, chunk_rows=self.plan.chunk_rows)
        scheduler = prepared.session([self.behavior]).scheduler
        screen = find_screen(self.plan.screen)(self.model, self.behavior, prepared.generic, seed=self.plan.seed)
        with self.progress.stage(f"{self.model.name}: screen {self.plan.screen}"):
            scheduler.run(f"screen {name}", [screen])
        own = Circuit.of(screen.table(), len(circuit.neurons))
        with self.progress.stage(f"{self.model.name}: the same circuit"):
            undosed = self._undosed(scheduler, sweep.task.evaluate)
            # Strength and prompts are the aligned model's: nothing is chosen here.
            task = replace(sweep.task, select=(), factor=sweep.factor)
            here = CircuitSweep(task, sweep.circuit, sweep.controls)
            scheduler.run(f"circuit {name}", [here])
        seed = self.plan.seed
        found = detections(scheduler, self.behavior, circuit, sweep.controls, seed)
        return {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "circuit": own.to_json()["neurons"],
            "overlap": overlap(self.model, circuit.neurons, own.neurons, seed).to_json(),
            "ladder": results.ladder(here, undosed, seed),
            "tests": results.tests(here, seed),
            "effects": results.effects(here, seed),
            "changed": {
                "aligned": results.changed(sweep, eligible, seed),
                "base": results.changed(here, undosed, seed),
                "difference": paired_difference(
                    results.changes(sweep, eligible)["circuit"][0], results.changes(here, undosed)["circuit"][0], seed
                ).to_json(),
            },
            "detection": None if found is None else found.to_json(),
            "detection_difference": _difference(known, found),
        }

    def _undosed(self, scheduler: Scheduler, prompts: tuple[str, ...]) -> Rows:
        by_id = {row["prompt"]: row for row in undosed_rows(scheduler, self.behavior)}
        return [by_id[prompt] for prompt in prompts]


def check_pair(aligned: Model, base: Model) -> None:
    """Refuse two models whose neurons do not correspond.

    Raises:
        ModelError: They differ in family, layers or widths.
    """
    if (aligned.family.name, aligned.neurons.shapes) != (base.family.name, base.neurons.shapes):
        raise ModelError(
            f"{base.name} ({base.family.name}, {len(base.neurons):,} neurons in {base.layers} layers) is no base of "
            f"{aligned.name} ({aligned.family.name}, {len(aligned.neurons):,} in {aligned.layers}): their neurons do "
            "not correspond",
            "give the checkpoint that it was trained from with --base",
        )


def _difference(aligned: Detections | None, base: Detections | None) -> dict[str, Any] | None:
    """Mean area of the aligned circuit less that in the base model, on the same prompts."""
    if aligned is None or base is None:
        return None
    one, other = aligned.arms["circuit"], base.arms["circuit"]
    return {
        "value": one.area - other.area,
        "interval": list(percentile_interval(np.asarray(one.replicates - other.replicates))),
    }
