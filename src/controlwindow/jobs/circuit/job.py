"""The circuit job: find a circuit, ablate it at a ladder of strengths, and hold it against its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.circuits import results
from controlwindow.circuits.controls import Controls
from controlwindow.circuits.selection import Circuit, Size, circuit_top
from controlwindow.circuits.sweep import CircuitSweep, SweepTask
from controlwindow.errors import BehaviorError, ControlWindowError
from controlwindow.instruments.generic import GENERIC_TOKENS, GenericPass
from controlwindow.jobs.circuit.base import BaseComparison
from controlwindow.jobs.circuit.detecting import detections, has_contrast
from controlwindow.jobs.circuit.plan import CircuitPlan
from controlwindow.jobs.stages.eligible import eligible_rows, in_source_state, undosed_rows
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, numbered
from controlwindow.runs.records import behavior_record, model_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare
from controlwindow.screens import Screen, find_screen
from controlwindow.screens.base import ContrastScreen


@dataclass(frozen=True)
class Found:
    """A circuit with its controls, as the screens gave them.

    Attributes:
        circuit: The circuit.
        controls: Its controls.
        dropped: Neurons that the screen left out, by reason.
        notes: What a reader of the ranking should know.
    """

    circuit: Circuit
    controls: Controls
    dropped: dict[str, int]
    notes: tuple[str, ...]


class CircuitJob:
    """One circuit of a model. Every stage looks into the ledger first, so that a run cut off goes on where it was.

    Args:
        model: The model.
        behavior: The behavior.
        plan: What is to be done.
        ledger: An open ledger.
        base: The base model; None where there is none.
        base_ledger: Where the base model's own ledger lies, since cells do not say which model they are of; None keeps
            it in memory.
        progress: Where progress is shown.
    """

    def __init__(
        self,
        model: Model,
        behavior: Behavior,
        plan: CircuitPlan,
        ledger: Ledger,
        base: Model | None = None,
        base_ledger: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.behavior, self.plan, self.ledger = model, behavior, plan, ledger
        self.base, self.base_ledger = base, base_ledger
        stages = ("undosed rollouts", f"screen {plan.screen}, with controls", "circuit and controls")
        self.progress = numbered(progress, model.name, [f"{behavior.name}: {stage}" for stage in stages])

    def run(self) -> dict[str, Any]:
        """Do the whole job.

        Returns:
            The document that `--json` prints, floats not rounded.

        Raises:
            BehaviorError: The behavior lacks what the screen reads, or too few prompts are eligible.
            UsageError: The circuit is empty, or larger than the model.
            OperationError: The hooks failed their self-proof.
            LedgerError: The ledger cannot be written.
        """
        size = circuit_top(self.plan.top, len(self.model.neurons))
        prepared = prepare(self.model, self.ledger, self.progress, seed=self.plan.seed, chunk_rows=self.plan.chunk_rows)
        screens = self._screens(prepared.generic)
        session = prepared.session([*(screen.behavior for screen in screens.values()), self.behavior])
        scheduler = session.scheduler
        with self.progress.stage(f"{self.behavior.name}: undosed rollouts"):
            eligible = eligible_rows(scheduler, self.behavior)
        found = self._find(scheduler, screens, size)
        sweep = CircuitSweep(self._task(scheduler, eligible), found.circuit.neurons, found.controls)
        with self.progress.stage(f"{self.behavior.name}: circuit and controls"):
            scheduler.run(f"circuit {self.behavior.name}", [sweep])
        known = detections(scheduler, self.behavior, found.circuit, found.controls, self.plan.seed)
        document = self._document(found, sweep, eligible, size)
        document["detection"] = None if known is None else known.to_json()
        if self.base is not None:
            with Ledger(self.base_ledger, create=True) as ledger:
                comparison = BaseComparison(self.model, self.behavior, self.plan, self.base, ledger, self.progress)
                document["base"] = comparison.run(found.circuit, sweep, eligible, known)
        self.ledger.remember("result", self.plan.kind, lambda: document)
        return document

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        records: list[tuple[str, str, Any]] = [
            ("model", "model", model_record(self.model)),
            ("behavior", self.behavior.name, behavior_record(self.behavior)),
        ]
        if self.base is not None:
            records.append(("model", "base", model_record(self.base)))
        return records

    def _screens(self, generic: GenericPass) -> dict[tuple[str, int], Screen]:
        """The screen and its controls; those that the behavior does not allow are left out and marked later."""
        chosen = find_screen(self.plan.screen)
        seeds = range(self.plan.seed, self.plan.seed + self.plan.seeds)
        found: dict[tuple[str, int], Screen] = {
            ("circuit", 0): chosen(self.model, self.behavior, generic, seed=self.plan.seed)
        }
        for control in ("random", "shuffled"):
            for place, seed in enumerate(seeds):
                try:
                    found[control, place] = chosen(self.model, self.behavior, generic, seed=seed, control=control)
                except BehaviorError:
                    break
        if not issubclass(chosen, ContrastScreen) and has_contrast(self.behavior, "find"):
            # Whatever the screen, a neuron that answers to every prompt is no part of a circuit (CNA).
            universal = find_screen("contrastive")
            found["universal", 0] = universal(self.model, self.behavior, generic, seed=self.plan.seed)
        return found

    def _find(self, scheduler: Scheduler, screens: Mapping[tuple[str, int], Screen], size: Size) -> Found:
        known = self.ledger.find("circuit", self.behavior.name)
        if known is None:
            with self.progress.stage(f"{self.behavior.name}: screen {self.plan.screen}, with controls"):
                scheduler.run(f"screen {self.behavior.name}", list(screens.values()))
            known = self._chosen(screens, size)
            self.ledger.record("circuit", self.behavior.name, known)
        return Found(
            Circuit.from_json(known["circuit"]),
            Controls.from_json(known["controls"]),
            known["dropped"],
            tuple(known["notes"]),
        )

    def _chosen(self, screens: Mapping[tuple[str, int], Screen], size: Size) -> dict[str, Any]:
        left_out, dropped = frozenset[str](), {}
        if ("universal", 0) in screens:
            mask = screens["universal", 0].dropped()["universal"]
            names = [str(neuron) for neuron in self.model.neurons]
            left_out = frozenset(name for name, universal in zip(names, mask, strict=True) if universal)
            dropped["universal"] = len(left_out)
        screen = screens["circuit", 0]
        dropped |= {reason: int(mask.sum()) for reason, mask in screen.dropped().items()}
        circuit = Circuit.of(screen.table(), size.neurons, left_out)
        sets: dict[str, list[tuple[str, ...]]] = {"random": [], "shuffled": []}
        missing: dict[str, str] = {}
        for control, draws in sets.items():
            for place in range(self.plan.seeds):
                try:
                    draws.append(self._drawn(screens, control, place, size, left_out))
                except ControlWindowError as error:
                    missing[control] = error.message
                    break
        if not has_contrast(self.behavior, "find") and not has_contrast(self.behavior, "evaluate"):
            missing["attention_held"] = "the behavior has no contrast, so no target answer is known"
        controls = Controls(tuple(sets["random"]), tuple(sets["shuffled"]), missing)
        return {
            "circuit": circuit.to_json(),
            "controls": controls.to_json(),
            "dropped": dropped,
            "notes": list(screen.notes),
            "cost": asdict(screen.cost),
        }

    def _drawn(
        self,
        screens: Mapping[tuple[str, int], Screen],
        control: str,
        place: int,
        size: Size,
        left_out: frozenset[str],
    ) -> tuple[str, ...]:
        if (control, place) not in screens:
            raise BehaviorError("the behavior has no contrast whose labels could be shuffled")
        # Random neurons stand in places of the circuit's own ranking, of which nothing was left out by name.
        excluded = frozenset[str]() if control == "random" else left_out
        return Circuit.of(screens[control, place].table(), size.neurons, excluded).neurons

    def _task(self, scheduler: Scheduler, eligible: Rows) -> SweepTask:
        behavior = self.behavior
        selecting = in_source_state(undosed_rows(scheduler, behavior, "select"), behavior)
        answers = has_contrast(behavior, "evaluate") or has_contrast(behavior, "find")
        return SweepTask(
            behavior=behavior.name,
            factors=self.plan.factors,
            horizon=behavior.horizons[-1],
            ordinary_horizon=GENERIC_TOKENS,
            positions=behavior.positions,
            source=behavior.source_outcome,
            targets=behavior.target_outcomes,
            select=tuple(row["prompt"] for row in selecting),
            evaluate=tuple(row["prompt"] for row in eligible),
            seeds=self.plan.seeds,
            answers=answers,
        )

    def _document(self, found: Found, sweep: CircuitSweep, eligible: Rows, size: Size) -> dict[str, Any]:
        behavior, seed = self.behavior, self.plan.seed
        return {
            "run": self.plan.run,
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "organism": self.model.organism is not None,
            "layers_total": self.model.layers,
            "neurons_total": len(self.model.neurons),
            "behavior": behavior.name,
            "description": behavior.description,
            "sensitive": behavior.sensitive,
            "source_outcome": behavior.source_outcome,
            "target_outcomes": sorted(behavior.target_outcomes),
            "horizon": behavior.horizons[-1],
            "seed": seed,
            "seeds": self.plan.seeds,
            "screen": self.plan.screen,
            "top": {"asked": self.plan.top, "size": size.neurons, "rule": size.rule},
            "prompts": {
                "find": len(behavior.prompts("find")),
                "select": len(sweep.task.select),
                "evaluate": len(behavior.prompts("evaluate")),
                "eligible": len(eligible),
            },
            "circuit": [
                {"neuron": name, "rank": rank, "score": score, "sign": sign}
                for rank, (name, score, sign) in enumerate(
                    zip(found.circuit.neurons, found.circuit.scores, found.circuit.signs, strict=True), start=1
                )
            ],
            "dropped": found.dropped,
            "notes": list(found.notes),
            "controls": found.controls.status(),
            "controlled": found.controls.complete,
            "mark": found.controls.mark(),
            "choice": results.choice(sweep),
            "ladder": results.ladder(sweep, eligible, seed),
            "tests": results.tests(sweep, seed),
            "effects": results.effects(sweep, seed),
            "layers": results.layers(sweep, seed),
            "moves": [
                {"layer": layer, "size": size} for layer, size in sorted(zip(*sweep.sizes(sweep.factor), strict=True))
            ],
            "detection": None,
            "base": None,
            "base_note": self.plan.base_note,
        }
