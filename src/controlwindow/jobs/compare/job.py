"""A comparison of interventions from beginning to end: settings, matched strengths, and what each costs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import MINIMUM_CONTRAST
from controlwindow.behaviors.prompts import Role, Split
from controlwindow.cells import (
    METHODS,
    RESIDUAL_METHODS,
    ActivationCell,
    Cell,
    MethodName,
    ReferenceCell,
    RolloutCell,
    Rows,
)
from controlwindow.errors import BehaviorError, LedgerError, UsageError
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
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import library_versions, model_record, refuse_other_libraries
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.records import behavior_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare, set_detector
from controlwindow.screens.base import Activations
from controlwindow.screens.controls import shuffle_labels
from controlwindow.screens.one import reference_point
from controlwindow.statistics import stable_seed

KIND = "comparison"
"""Kind of the plan in a ledger."""

LEVELS = (0.25, 0.5, 0.75, 0.9)
"""Rates of the behavior at which methods are compared by default."""

_FOUND_ON: Split = "find"
_CHOSEN_ON: Split = "select"
_REPORTED_ON: Split = "evaluate"


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        neurons: Names of the neurons.
        methods: The methods, in the order of `METHODS`.
        levels: Rates to be matched, ascending.
        controls: Whether a random neuron of the same layer and a direction of shuffled labels are compared beside.
        seed: Seed of everything random.
        chunk_rows: Most rows of a chunk.

    Raises:
        UsageError: Nothing is to be compared, or a level or a method makes no sense.
    """

    neurons: tuple[str, ...]
    methods: tuple[MethodName, ...] = METHODS
    levels: tuple[float, ...] = LEVELS
    controls: bool = True
    seed: int = 0
    chunk_rows: int = 512

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise UsageError(f"unknown method {unknown[0]!r}", f"methods: {', '.join(METHODS)}")
        object.__setattr__(self, "methods", tuple(method for method in METHODS if method in self.methods))
        object.__setattr__(self, "levels", tuple(sorted(set(self.levels))))
        object.__setattr__(self, "neurons", tuple(dict.fromkeys(self.neurons)))
        if not self.levels or not all(0 < level <= 1 for level in self.levels):
            raise UsageError(f"levels are rates above 0 and up to 1, got {list(self.levels)}", "as in --level 0.5")
        if not self.methods or (not self.neurons and not set(self.methods) & set(RESIDUAL_METHODS)):
            raise UsageError("nothing is to be compared", "name a neuron with --neuron, or a residual baseline")

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> ComparisonPlan:
        """Read `record`."""
        return cls(
            neurons=tuple(found["neurons"]),
            methods=tuple(found["methods"]),
            levels=tuple(found["levels"]),
            controls=found["controls"],
            seed=found["seed"],
            chunk_rows=found["chunk_rows"],
        )

    def record(self, model: Model, behavior: Behavior) -> dict[str, Any]:
        """As JSON values, with what the numbers depend on beside it."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {
            **values,
            "model": model.name,
            "fingerprint": model.fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "system_prompt": model.chat.system_prompt,
            "chat_template": model.chat.template,
            "behavior": {"name": behavior.name, "fingerprint": behavior.fingerprint},
        }


@dataclass
class ComparisonJob:
    """One comparison. Every stage looks into the ledger first, so that one cut off goes on where it was.

    Attributes:
        model: The model.
        behavior: The behavior.
        plan: What is compared.
        ledger: An open ledger.
        progress: Where progress is shown.
        where: What a new plan says of where model and behavior came from; numbers do not depend on it.
    """

    model: Model
    behavior: Behavior
    plan: ComparisonPlan
    ledger: Ledger
    progress: Progress = field(default_factory=Silent)
    where: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Comparison:
        """Do the whole job.

        Raises:
            BehaviorError: Too few prompts are eligible, or the split that is found on has no contrast.
            LedgerError: The ledger holds something else, or cannot be written.
            NeuronError: A neuron lies outside the model or has no budget.
            OperationError: The hooks failed their self-proof.
        """
        self.commit_plan()
        found = self.ledger.find(KIND, self.behavior.name)
        if found is None:
            found = self._measure()
            self.ledger.record_all(
                [
                    (KIND, self.behavior.name, found),
                    ("finished", KIND, {"results": len(found["results"])}),
                ]
            )
        return comparison_from_record(found)

    def commit_plan(self) -> None:
        """Write the plan, or hold the one that is there against this one.

        Raises:
            LedgerError: The ledger holds another run, or was begun with other libraries.
        """
        wanted = self.plan.record(self.model, self.behavior)
        other = next((kind for kind in self.ledger.find_all("plan") if kind != KIND), None)
        found = self.ledger.find("plan", KIND)
        if found is None and other is None:
            self.ledger.record_all(
                [
                    ("plan", KIND, {**wanted, **self.where}),
                    ("model", "model", model_record(self.model)),
                    ("versions", "versions", library_versions()),
                    ("behavior", self.behavior.name, behavior_record(self.behavior)),
                ]
            )
            return
        different = [other] if found is None else [key for key in wanted if wanted[key] != found.get(key)]
        if different:
            raise LedgerError(
                f"{self.ledger.path} holds another run: it differs in {', '.join(map(str, different))}",
                "give another --out, or the options that this one was begun with",
            )
        refuse_other_libraries(self.ledger, finished=self.ledger.find("finished", KIND) is not None)

    def _measure(self) -> dict[str, Any]:
        plan, behavior = self.plan, self.behavior
        behavior.contrast(_FOUND_ON)
        generic = prepare(self.model, self.ledger, self.progress)
        detector = set_detector(self.model, generic, self.ledger, plan.seed, self.progress)
        shuffled = shuffle_labels(behavior, _FOUND_ON, plan.seed)
        behaviors = {behavior.name: behavior, shuffled.name: shuffled}
        engine = Engine(self.model, behaviors, generic, self.ledger, detector, self.progress.rows)
        scheduler = Scheduler(self.ledger, engine, chunk_rows=plan.chunk_rows, progress=self.progress.tick)
        with self.progress.stage(f"{behavior.name}: undosed rollouts"):
            chosen = self._eligible(scheduler, _CHOSEN_ON)
            reported = self._eligible(scheduler, _REPORTED_ON)
            benign = self._undosed(scheduler, _REPORTED_ON, "negative")
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

    def _undosed(self, scheduler: Scheduler, split: Split, role: Role = "positive") -> Rows:
        """Undosed rollouts of a split, all its prompts of a role."""
        if not self.behavior.prompts(split, role):
            return []
        positions, horizon = self.behavior.positions, self.behavior.horizons[-1]
        cell = RolloutCell(self.behavior.name, split, horizon=horizon, positions=positions, role=role)
        return _asked(scheduler, "undosed", [cell])[cell]

    def _eligible(self, scheduler: Scheduler, split: Split) -> list[str]:
        """Ids of the prompts that show the source state undosed."""
        rows = self._undosed(scheduler, split)
        last = str(self.behavior.horizons[-1])
        eligible = [row["prompt"] for row in rows if row["outcomes"][last] == self.behavior.source_outcome]
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
