"""A comparison of interventions from beginning to end: settings, matched strengths, and what each costs there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import MINIMUM_CONTRAST
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import ActivationCell, Cell, ReferenceCell, Rows
from controlwindow.errors import BehaviorError
from controlwindow.instruments.dosing import model_budgets
from controlwindow.instruments.generic import GenericPass
from controlwindow.interventions.comparison import (
    METRICS,
    Comparison,
    LevelResult,
    benign_values,
    capability_values,
    differences,
    estimated,
    level_result,
    outcome_shares,
    rollout_values,
)
from controlwindow.interventions.matching import Match, MatchingSearch
from controlwindow.interventions.methods import Arm, Reference, neuron_arms, residual_arms
from controlwindow.jobs.compare.plan import ComparisonPlan
from controlwindow.jobs.stages.eligible import in_source_state, undosed_rows
from controlwindow.models import Model, Neuron
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent, numbered
from controlwindow.runs.records import behavior_record, model_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare
from controlwindow.screens.base import Activations
from controlwindow.screens.controls import shuffle_labels
from controlwindow.screens.one import reference_point
from controlwindow.statistics import stable_seed

_FOUND_ON: Split = "find"
_CHOSEN_ON: Split = "select"
_REPORTED_ON: Split = "evaluate"


@dataclass
class ComparisonJob:
    """One comparison. Every stage looks into the ledger first, so that one cut off goes on where it was.

    Attributes:
        model: The model.
        behavior: The behavior.
        plan: What is compared.
        ledger: An open ledger.
        progress: Where progress is shown.
    """

    model: Model
    behavior: Behavior
    plan: ComparisonPlan
    ledger: Ledger
    progress: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        stages = ["undosed rollouts", "matching rates", "measuring at matched rates"]
        if self.plan.neurons:
            anchored = ["where anchors are read"] * ("anchor" in self.plan.methods)
            stages[1:1] = ["natural activations", *anchored]
        self.progress = numbered(self.progress, self.model.name, [f"{self.behavior.name}: {name}" for name in stages])

    def run(self) -> Comparison:
        """Do the whole job.

        Raises:
            BehaviorError: Too few prompts are eligible, or the split that is found on has no contrast.
            LedgerError: The ledger cannot be written.
            NeuronError: A neuron lies outside the model or has no budget.
            OperationError: The hooks failed their self-proof.
        """
        found = self.ledger.remember(self.plan.kind, self.behavior.name, self._measure)
        return comparison_from_record(found)

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        return [
            ("model", "model", model_record(self.model)),
            ("behavior", self.behavior.name, behavior_record(self.behavior)),
        ]

    def _measure(self) -> dict[str, Any]:
        plan, behavior = self.plan, self.behavior
        behavior.contrast(_FOUND_ON)
        prepared = prepare(self.model, self.ledger, self.progress, seed=plan.seed, chunk_rows=plan.chunk_rows)
        generic, shuffled = prepared.generic, shuffle_labels(behavior, _FOUND_ON, plan.seed)
        scheduler = prepared.session([behavior, shuffled]).scheduler
        with self.progress.stage(f"{behavior.name}: undosed rollouts"):
            chosen = self._eligible(scheduler, _CHOSEN_ON)
            reported = self._eligible(scheduler, _REPORTED_ON)
            benign = undosed_rows(scheduler, behavior, _REPORTED_ON, "negative", stage="undosed")
        arms, notes = self._arms(scheduler, generic, shuffled)
        if len(benign) == 0:
            notes.append("the evaluate split has no benign prompts, so side effects on them are not measured")
        searches = [
            MatchingSearch(arm, behavior.name, chosen, plan.levels, behavior.horizons[-1], behavior.target_outcomes)
            for arm in arms
        ]
        with self.progress.stage(f"{behavior.name}: matching rates"):
            scheduler.run("matching", searches)
        with self.progress.stage(f"{behavior.name}: measuring at matched rates"):
            results = self._results(scheduler, searches, reported, benign)
        curves = {
            search.arm.name: [[strength, reading.rate, reading.collapsed] for strength, reading in search.curve()]
            for search in searches
        }
        return {
            "model": self.model.name,
            "behavior": behavior.name,
            "levels": list(plan.levels),
            "n_evaluate": len(reported),
            "n_select": len(chosen),
            "results": [result.to_json() for result in results],
            "curves": curves,
            "notes": notes,
            "seed": plan.seed,
        }

    def _eligible(self, scheduler: Scheduler, split: Split) -> list[str]:
        """Ids of the prompts that show the source state undosed."""
        rows = undosed_rows(scheduler, self.behavior, split, stage="undosed")
        eligible = [row["prompt"] for row in in_source_state(rows, self.behavior)]
        if split == _REPORTED_ON:
            self.behavior.require_eligible(len(eligible), len(rows))
        elif len(eligible) < MINIMUM_CONTRAST:
            raise BehaviorError(
                f"behavior '{self.behavior.name}': {len(eligible)} of {len(rows)} prompts of the split '{split}' are "
                f"'{self.behavior.source_outcome}' without a dose, {MINIMUM_CONTRAST} are needed to match rates on",
                f"add prompts to the split '{split}' on which this model shows the source state",
            )
        return eligible

    def _arms(self, scheduler: Scheduler, generic: GenericPass, shuffled: Behavior) -> tuple[list[Arm], list[str]]:
        """What is compared, and what is left out of it."""
        plan, positions = self.plan, self.behavior.positions
        notes: list[str] = []
        arms: list[Arm] = []
        centers: dict[str, float] = {}
        if plan.neurons:
            with self.progress.stage(f"{self.behavior.name}: natural activations"):
                centers = self._centers(scheduler)
        anchors = "anchor" in plan.methods and plan.neurons
        reference: dict[str, Any] = {}
        if anchors:
            cell = ReferenceCell(self.behavior.name, _FOUND_ON)
            with self.progress.stage(f"{self.behavior.name}: where anchors are read"):
                reference = _asked(scheduler, "references", [cell])[cell][0]
        places = {str(neuron): place for place, neuron in enumerate(self.model.neurons)} if anchors else {}
        for name in plan.neurons:
            budget = generic.budget(self.model, name)
            point = Reference(*reference_point(reference, places[name])) if anchors else None
            arms += neuron_arms(name, budget, centers[name], plan.methods, positions, point)
            if point is not None and point.gap == 0:
                notes.append(f"{name} is as active on X+ as on X−, so it cannot be anchored")
        if plan.controls and "add" in plan.methods:
            for name in self._random_neurons(generic):
                arms += neuron_arms(name, generic.budget(self.model, name), 0.0, ("add",), positions, None, "control")
        arms += residual_arms(generic.residual_norm, plan.methods, positions)
        if plan.controls and "mean_difference" in plan.methods:
            arms += residual_arms(generic.residual_norm, ("mean_difference",), positions, shuffled.name)
        return arms, notes

    def _centers(self, scheduler: Scheduler) -> dict[str, float]:
        """Mean activation of every neuron on X+ of the find split."""
        cell = ActivationCell(self.behavior.name, _FOUND_ON)
        found = Activations.from_row(_asked(scheduler, "activations", [cell])[cell][0])
        return dict(zip(map(str, self.model.neurons), found.positive_mean.tolist(), strict=True))

    def _random_neurons(self, generic: GenericPass) -> list[str]:
        """For each neuron another one of its layer, drawn at random among those that have a budget."""
        budgets = model_budgets(self.model, generic)
        neurons = list(self.model.neurons)
        generator = np.random.default_rng(stable_seed("random neurons", "comparison", self.plan.seed))
        taken = set(self.plan.neurons)
        found = []
        for name in self.plan.neurons:
            layer = Neuron.parse(name).layer
            fit = [
                str(neuron)
                for neuron, budget in zip(neurons, budgets, strict=True)
                if neuron.layer == layer and np.isfinite(budget) and str(neuron) not in taken
            ]
            if fit:
                found.append(fit[int(generator.integers(len(fit)))])
                taken.add(found[-1])
        return found

    def _results(
        self, scheduler: Scheduler, searches: Sequence[MatchingSearch], reported: list[str], benign: Rows
    ) -> list[LevelResult]:
        """What every method does and costs at the levels that it matches, on prompts that nothing was chosen on."""
        matches = [(search.arm, match) for search in searches for match in search.matches()]
        wanted = {
            (arm.name, match.level): self._cells(arm, match, reported, bool(benign))
            for arm, match in matches
            if match.matched
        }
        rows = _asked(scheduler, "reported", [cell for cells in wanted.values() for cell in cells])
        results = []
        for arm, match in matches:
            result = level_result(arm, match)
            if match.matched:
                found = [rows[cell] for cell in wanted[arm.name, match.level]]
                result = self._measured(result, found, benign)
            results.append(result)
        return results

    def _cells(self, arm: Arm, match: Match, reported: list[str], benign: bool) -> list[Cell]:
        name, horizon = self.behavior.name, self.behavior.horizons[-1]
        chosen = name, _REPORTED_ON, match.setting, match.strength
        cells: list[Cell] = [arm.rollouts(*chosen, horizon, tuple(reported)), arm.capability(*chosen)]
        return [*cells, arm.rollouts(*chosen, horizon, role="negative")] if benign else cells

    def _measured(self, result: LevelResult, found: list[Rows], benign: Rows) -> LevelResult:
        horizon = self.behavior.horizons[-1]
        steered, capability, *rest = found
        values = {
            **rollout_values(steered, horizon, self.behavior.target_outcomes),
            **capability_values(capability),
            **(benign_values(rest[0], benign, horizon) if rest else {}),
        }
        metrics = {name: estimated(name, values[name], self.plan.seed) for name in METRICS if name in values}
        rate = metrics["behavior_rate"]
        return replace(
            result,
            level_covered=rate.low <= result.level <= rate.high,
            metrics=metrics,
            outcomes=outcome_shares(steered),
            values=values,
        )


def _asked(scheduler: Scheduler, stage: str, cells: Sequence[Cell]) -> dict[Cell, Rows]:
    """Rows of cells that are known beforehand."""
    asked = Asks(list(cells))
    scheduler.run(stage, [asked])
    return asked.results


def comparison_from_record(found: dict[str, Any]) -> Comparison:
    """Read what a comparison left in its ledger; differences follow from what it measured."""
    results = tuple(map(LevelResult.from_json, found["results"]))
    return Comparison(
        model=found["model"],
        behavior=found["behavior"],
        levels=tuple(found["levels"]),
        n_evaluate=found["n_evaluate"],
        n_select=found["n_select"],
        results=results,
        differences=differences(results, found["seed"]),
        curves={name: [(point[0], point[1], point[2]) for point in curve] for name, curve in found["curves"].items()},
        notes=tuple(found["notes"]),
        seed=found["seed"],
    )
