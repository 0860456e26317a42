"""One probe from beginning to end: plan, planner, evidence, each of which leaves its result in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from controlwindow.behaviors import Behavior, Split
from controlwindow.behaviors.pairs import behavior_of_pairs, prompt_pairs
from controlwindow.circuits.agreement import GapAgainstText, gap_against_text, rank, sum_against_measured
from controlwindow.circuits.budget import (
    AMPLIFICATIONS,
    PROMPTS,
    STRENGTHS,
    ProbeSettings,
    check_ladder,
    default_ladder,
    spread_layers,
)
from controlwindow.circuits.evidence import EffectLine, ProbeEvidence
from controlwindow.circuits.probe import INJECTIONS, LEAST_ELIGIBLE, ProbePlanner
from controlwindow.circuits.result import ProbeResult
from controlwindow.circuits.verdict import classify, predict, topology
from controlwindow.errors import BehaviorError, LedgerError
from controlwindow.instruments.arrays import unpack_array
from controlwindow.instruments.objectives import Objective, text_tokens
from controlwindow.models import Model
from controlwindow.running.engine import Engine
from controlwindow.running.ledger import Ledger
from controlwindow.running.plan import DECIDING, library_versions, model_record
from controlwindow.running.preparing import prepare, set_detector
from controlwindow.running.progress import Progress, Silent
from controlwindow.running.records import behavior_record
from controlwindow.running.scheduler import Scheduler
from controlwindow.screens.controls import shuffle_labels
from controlwindow.statistics import stable_seed

RANDOM_DRAWS = 3
SHUFFLED_DRAWS = 2


class ProbePlan(BaseModel):
    """What a probe was asked for; with the settings that follow from it.

    Attributes:
        model: The model's name.
        fingerprint: Its weights hash.
        dtype: Type of the weights.
        device: Kind of device.
        chat_template: Hash of the chat template, if any.
        system_prompt: The system message, if any.
        behavior: The behavior's name.
        behavior_fingerprint: Its hash.
        passes: Most passes; None for as many as the settings take.
        seed: Seed of everything random.
        settings: The settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    fingerprint: str
    dtype: str
    device: str
    chat_template: str | None
    system_prompt: str | None
    behavior: str
    behavior_fingerprint: str
    passes: int | None
    seed: int
    settings: dict[str, Any]


class Probe:
    """One probe of a model. It looks into the ledger first, so that one cut off goes on where it was.

    Args:
        model: The model.
        behavior: The behavior.
        ledger: An open ledger.
        passes: Most passes that are no rollouts; None for as many as the settings take.
        sizes: Sizes k of the circuit; None for 1, 2, 4, ….
        seed: Seed of everything random.
        progress: Where progress is shown.

    Attributes:
        settings: What will be done, known before anything is measured.

    Raises:
        BehaviorError: The behavior has no pairs, or too few.
        UsageError: The sizes leave no circuit, or the passes do not suffice.
    """

    def __init__(
        self,
        model: Model,
        behavior: Behavior,
        ledger: Ledger,
        *,
        passes: int | None = None,
        sizes: Sequence[int] | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.behavior, self.ledger, self.seed = model, behavior, ledger, seed
        self.progress = progress or Silent()
        self._notes: list[str] = []
        self._shuffled = self._shuffle()
        count = len(model.neurons)
        ladder = default_ladder(count) if sizes is None else check_ladder(sizes, count)
        self.settings = self._settings(ladder).within(passes)
        self.plan = ProbePlan(
            model=model.name,
            fingerprint=model.fingerprint,
            dtype=str(model.dtype).removeprefix("torch."),
            device=model.device.type,
            chat_template=model.chat.template,
            system_prompt=model.chat.system_prompt,
            behavior=behavior.name,
            behavior_fingerprint=behavior.fingerprint,
            passes=passes,
            seed=seed,
            settings=_jsonable(asdict(self.settings)),
        )

    def run(self) -> ProbeResult:
        """Do the whole job.

        Raises:
            ScreenError: Target and control are not told apart, or no neuron has an importance other than 0.
            OperationError: The hooks failed their self-proof.
            LedgerError: The ledger holds another run, or cannot be written.
        """
        self.commit_plan()
        generic = prepare(self.model, self.ledger, self.progress)
        detector = set_detector(self.model, generic, self.ledger, self.seed, self.progress)
        behaviors = {b.name: b for b in (self.behavior, behavior_of_pairs(self.behavior), *self._shuffled)}
        engine = Engine(self.model, behaviors, generic, self.ledger, detector, progress=self.progress.rows)
        scheduler = Scheduler(self.ledger, engine, progress=self.progress.tick)
        planner = ProbePlanner(self.settings, self.model.neurons)
        with self.progress.stage(f"{self.behavior.name}: probe"):
            # What a first part had planned for a cell that needs undosed rollouts finds them in the ledger.
            scheduler.run(f"probe {self.behavior.name}", [planner])
        result = self._read(planner)
        if self.ledger.find("probe", self.behavior.name) is None:
            self.ledger.record("probe", self.behavior.name, result.to_json())
        return result

    def commit_plan(self) -> None:
        """Write the plan, or hold the one that is there against this one.

        Raises:
            LedgerError: The ledger holds another run.
        """
        found = self.ledger.find("plan", "probe")
        if found is None:
            if self.ledger.find_all("plan"):
                raise LedgerError(f"{self.ledger.path} holds a run of another kind", "give another --out")
            self.ledger.record_all(
                [
                    ("plan", "probe", self.plan.model_dump(mode="json")),
                    ("model", "model", model_record(self.model)),
                    ("versions", "versions", library_versions()),
                    ("behavior", self.behavior.name, behavior_record(self.behavior)),
                ]
            )
            return
        planned = self.plan.model_dump(mode="json")
        different = [key for key in planned if planned[key] != found.get(key)]
        if different:
            raise LedgerError(
                f"{self.ledger.path} holds another probe: it differs in {', '.join(different)}", "give another --out"
            )
        versions, before = library_versions(), self.ledger.find("versions", "versions") or {}
        changed = [f"{n} {before.get(n)} → {versions[n]}" for n in DECIDING if before.get(n) != versions[n]]
        if changed and self.ledger.find("probe", self.behavior.name) is None:
            raise LedgerError(
                f"{self.ledger.path} was begun with other libraries ({', '.join(changed)}), which may round otherwise",
                "install those versions, or start the probe again with another --out",
            )

    def _shuffle(self) -> list[Behavior]:
        """Behaviors with shuffled labels, for the control of that name."""
        try:
            return [shuffle_labels(self.behavior, "find", self.seed + draw) for draw in range(SHUFFLED_DRAWS)]
        except BehaviorError as error:
            self._notes.append(f"labels could not be shuffled, so that control is missing: {error.message}")
            return []

    def _settings(self, ladder: tuple[int, ...]) -> ProbeSettings:
        behavior = self.behavior
        splits: tuple[Split, ...] = ("find", "select", "evaluate")
        pairs: dict[str, tuple[str, ...]] = {
            split: tuple(p.id for p in prompt_pairs(behavior, split)[: PROMPTS[split]]) for split in splits
        }
        prompts: dict[str, tuple[str, ...]] = {
            split: tuple(p.id for p in behavior.prompts(split)[: PROMPTS[split]]) for split in ("select", "evaluate")
        }
        try:
            contrast = behavior.contrast("find")
            sides = len(contrast.positive) + len(contrast.negative)
        except BehaviorError:
            sides = 2 * len(prompt_pairs(behavior, "find"))
        return ProbeSettings(
            behavior=behavior.name,
            ladder=ladder,
            factors=AMPLIFICATIONS,
            layers=spread_layers(self.model.layers),
            strengths=STRENGTHS,
            pairs=pairs,
            prompts=prompts,
            undosed=len(behavior.prompts("select")) + len(behavior.prompts("evaluate")),
            texts=self._texts(),
            contrast=sides,
            random_draws=RANDOM_DRAWS,
            shuffled=tuple(b.name for b in self._shuffled),
            positions=behavior.positions,
            horizon=behavior.horizons[-1],
            source_outcome=behavior.source_outcome,
            target_outcomes=tuple(sorted(behavior.target_outcomes)),
            seed=self.seed,
        )

    def _texts(self) -> int:
        """Continuations that F takes of a prompt, at most; shuffled labels may need whole texts where these do not."""
        odds = self.behavior.log_odds
        if odds.kind == "answers":
            return 2
        targets, controls = (text_tokens(self.model, texts) for texts in (odds.target, odds.control))
        if odds.kind == "tokens" or Objective(targets, controls).first is not None:
            return 1
        return len(targets) + len(controls)

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
            notes=(*self._notes, *self._remarks(planner, sums.flipped, eligible, effects)),
        )

    def _seed(self, *parts: object) -> int:
        return stable_seed("probe", self.behavior.name, self.seed, *parts)

    def _gap(self, planner: ProbePlanner, evaluated: dict[str, Any]) -> GapAgainstText:
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


def _jsonable(value: Any) -> Any:
    """Tuples as lists, as a plan read back has them."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list | tuple) else value
