"""One probe from beginning to end: plan, planner, evidence, each of which leaves its result in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.pairs import behavior_of_pairs
from controlwindow.circuits.agreement import GapAgainstText, gap_against_text, rank, sum_against_measured
from controlwindow.circuits.evidence import EffectLine, ProbeEvidence
from controlwindow.circuits.probe import INJECTIONS, LEAST_ELIGIBLE, ProbePlanner
from controlwindow.circuits.result import ProbeResult
from controlwindow.circuits.verdict import classify, predict, topology
from controlwindow.instruments.arrays import unpack_array
from controlwindow.jobs.probe.plan import ProbePlan, shuffled_behaviors
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, numbered
from controlwindow.runs.records import behavior_record, model_record
from controlwindow.runs.session import prepare
from controlwindow.statistics import stable_seed


class Probe:
    """One probe of a model. It looks into the ledger first, so that one cut off goes on where it was.

    Args:
        model: The model.
        behavior: The behavior.
        plan: What is to be done.
        ledger: An open ledger; its plan must be this one.
        progress: Where progress is shown.
    """

    def __init__(
        self, model: Model, behavior: Behavior, plan: ProbePlan, ledger: Ledger, progress: Progress | None = None
    ) -> None:
        self.model, self.behavior, self.plan, self.ledger = model, behavior, plan, ledger
        self.settings, self.seed = plan.settings, plan.seed
        cost = plan.settings.passes
        self._probing = f"{behavior.name}: {cost.total:,} passes, {cost.rollouts:,} rollouts at most"
        self.progress = numbered(progress, model.name, [self._probing])

    def run(self) -> ProbeResult:
        """Do the whole job.

        Raises:
            ScreenError: Target and control are not told apart, or no neuron has an importance other than 0.
            OperationError: The hooks failed their self-proof.
            LedgerError: The ledger cannot be written.
        """
        prepared = prepare(self.model, self.ledger, self.progress, seed=self.seed)
        shuffled = shuffled_behaviors(self.behavior, self.seed)
        session = prepared.session([self.behavior, behavior_of_pairs(self.behavior), *shuffled])
        planner = ProbePlanner(self.settings, self.model.neurons)
        with self.progress.stage(self._probing):
            session.scheduler.run(f"probe {self.behavior.name}", [planner])
        result = self._read(planner)
        self.ledger.remember("result", self.plan.kind, result.to_json)
        return result

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        return [
            ("model", "model", model_record(self.model)),
            ("behavior", self.behavior.name, behavior_record(self.behavior)),
        ]

    # From rows to the result.

    def _read(self, planner: ProbePlanner) -> ProbeResult:
        behavior, evidence = self.behavior, ProbeEvidence(planner)
        find = planner.rows[planner.importance_cell("find")][0]
        evaluated = planner.rows[planner.importance_cell("evaluate")][0]
        effects = evidence.effects()
        chosen = evidence.chosen_effects(effects)
        rollouts = evidence.rollouts()
        sides = [np.array([pair[name] for pair in evaluated["pairs"]]) for name in ("ffn", "skip")]
        ratio = predict(sides[0], sides[1], self._seed("ratio"))
        ranking = rank(
            unpack_array(find["mean"]),
            unpack_array(find["mean_square"]),
            find["top"],
            unpack_array(find["top_values"]),
            unpack_array(evaluated["mean"]),
            find["stability"],
            self._seed("ranking"),
        )
        sums = sum_against_measured(evaluated["pairs"], self._seed("sums"))
        eligible = {split: len(planner.eligible(split)) for split in ("select", "evaluate")}
        return ProbeResult(
            model=self.ledger.find("model", "model") or model_record(self.model),
            behavior=behavior.name,
            sensitive=behavior.sensitive,
            seed=self.seed,
            passes={**asdict(self.settings.passes), "total": self.settings.passes.total},
            passes_taken=sum(
                int(row["cost"]["forward"]) for rows in planner.rows.values() for row in rows if "cost" in row
            ),
            prompts={
                **{f"{split}_pairs": len(ids) for split, ids in self.settings.pairs.items()},
                **{f"{split}_eligible": count for split, count in eligible.items()},
            },
            ranking=ranking,
            names={row.place: str(self.model.neurons[row.place]) for row in ranking.top},
            sums=sums,
            gap=self._gap(planner, evaluated),
            ratio=ratio,
            effects=tuple(effects),
            chosen=chosen,
            grid=tuple(self._grid(planner)),
            rollouts=tuple(rollouts),
            topology=topology(
                unpack_array(find["mean"]),
                self.settings.ladder,
                [line for line in effects if line.setting.intervention == "ablate"],
            ),
            verdict=classify(chosen, rollouts, ratio),
            notes=tuple(self._remarks(planner, sums.flipped, eligible, effects)),
        )

    def _seed(self, *parts: object) -> int:
        return stable_seed("probe", self.behavior.name, self.seed, *parts)

    def _gap(self, planner: ProbePlanner, evaluated: Mapping[str, Any]) -> GapAgainstText:
        """F and generated text of both sides of every evaluated pair."""
        last, targets = str(self.settings.horizon), self.behavior.target_outcomes
        generated = {row["prompt"]: row["outcomes"][last] in targets for row in planner.rows[planner.pairs_cell()]}
        log_odds, shown = [], []
        for pair in evaluated["pairs"]:
            log_odds += [pair["log_odds"], pair["log_odds_perturbed"]]
            shown += [generated[pair["pair"]], generated[f"{pair['pair']}~"]]
        return gap_against_text(np.array(log_odds), np.array(shown), evaluated["first_tokens"], self._seed("gap"))

    def _grid(self, planner: ProbePlanner) -> list[dict[str, Any]]:
        settings, found = self.settings, []
        for name in INJECTIONS:
            for layer in settings.layers:
                cell = planner.direction_effect("select", name, layer, settings.strengths)
                found += [
                    {
                        "intervention": name,
                        "layer": layer,
                        "strength": strength,
                        "shift": float(planner.shift(cell, strength).mean()),
                        "n": len(settings.pairs["select"]),
                    }
                    for strength in settings.strengths
                ]
        return found

    def _remarks(
        self, planner: ProbePlanner, flipped: int, eligible: dict[str, int], effects: Sequence[EffectLine]
    ) -> list[str]:
        settings, pairs = self.settings, len(self.settings.pairs["evaluate"])
        notes = []
        if not settings.shuffled:
            notes.append("the behavior has no contrast whose labels could be shuffled, so that control is missing")
        if flipped < pairs:
            notes.append(
                f"the perturbation flips {flipped} of {pairs} evaluated prompts; where it flips none, I is what a "
                "change that decided nothing adds to F"
            )
        if eligible["evaluate"] < LEAST_ELIGIBLE:
            notes.append(
                f"{eligible['evaluate']} of {len(settings.prompts['evaluate'])} evaluated prompts show the source "
                f"state '{settings.source_outcome}' without a change, {LEAST_ELIGIBLE} are needed for rollouts; the "
                "verdict rests on F"
            )
        means = {name: planner.importance("find", name) for name in settings.shuffled}
        same = [
            name for name, mean in means.items() if np.array_equal(np.abs(mean), np.abs(planner.importance("find")))
        ]
        if same:
            notes.append(
                f"shuffling labels leaves every importance as it was in {len(same)} of {len(means)} draws: where F "
                "compares a pair's own answers, turning the pair turns F with it, and this control says nothing"
            )
        bare = sum(not line.controls.complete for line in effects)
        if bare:
            notes.append(f"{bare} of {len(effects)} lines lack a control and are marked †")
        if not planner.first_tokens():
            notes.append(
                "first tokens do not tell target and control apart for every prompt, so F is that of whole texts"
            )
        return notes
