"""The plan of a probe: what was asked for and the settings that follow, committed before anything is measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from controlwindow.behaviors import Behavior, Split
from controlwindow.behaviors.pairs import prompt_pairs
from controlwindow.circuits.budget import (
    AMPLIFICATIONS,
    PROMPTS,
    STRENGTHS,
    ProbeSettings,
    check_ladder,
    default_ladder,
    spread_layers,
)
from controlwindow.errors import BehaviorError, LedgerError
from controlwindow.instruments.objectives import text_tokens
from controlwindow.models import Model
from controlwindow.running.ledger import Ledger
from controlwindow.running.plan import DECIDING, BehaviorReference, library_versions
from controlwindow.screens.controls import shuffle_labels

KIND = "probe"

RANDOM_DRAWS = 3
SHUFFLED_DRAWS = 2


class ProbePlan(BaseModel):
    """What a probe does.

    Attributes:
        run: The run's name.
        model: The model's name.
        source: What it was loaded from; None for a model in hand.
        fingerprint: Its weights hash.
        system_prompt: The system message, if any.
        dtype: Type of the weights.
        device: Kind of device.
        chat_template: Hash of the chat template, if any.
        behavior: The behavior.
        passes: Most passes that are no rollouts; None for as many as the settings take.
        seed: Seed of everything random.
        settings: What will be done.
        include_neurons: Whether the report names neurons of sensitive behaviors on models that are no organisms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = ""
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    behavior: BehaviorReference
    passes: int | None = None
    seed: int = 0
    settings: ProbeSettings
    include_neurons: bool = False

    def deciding(self) -> dict[str, Any]:
        """What results depend on; what a report shows and where files lay does not count."""
        values = self.model_dump(mode="json", exclude={"run", "source", "include_neurons"})
        values["behavior"] = [self.behavior.name, self.behavior.fingerprint]
        return values

    def named(self) -> ProbePlan:
        """With its name: a hash of what it measures, so that two runs of one configuration print the same."""
        digest = hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()
        return self.model_copy(update={"run": digest[:12]})


def commit_probe_plan(ledger: Ledger, plan: ProbePlan, records: list[tuple[str, str, Any]]) -> None:
    """Write the plan, or hold the one that is there against this one.

    Args:
        ledger: The run's ledger.
        plan: The plan.
        records: What else is written beside a new plan.

    Raises:
        LedgerError: The ledger holds another run, or one that was begun with other libraries.
    """
    found = ledger.find("plan", KIND)
    if found is None:
        others = list(ledger.find_all("plan"))
        if others:
            raise LedgerError(f"{ledger.path} holds a run of another kind ({others[0]})", "give another --out")
        versions = ("versions", "versions", library_versions())
        ledger.record_all([("plan", KIND, plan.model_dump(mode="json")), versions, *records])
        return
    before, now = ProbePlan.model_validate(found).deciding(), plan.deciding()
    different = [key for key in now if before[key] != now[key]]
    if different:
        raise LedgerError(
            f"{ledger.path} holds another probe: it differs in {', '.join(different)}",
            "give another --out, or resume it as it was planned with `controlwindow resume`",
        )
    then, today = ledger.find("versions", "versions") or {}, library_versions()
    changed = [f"{name} {then.get(name)} → {today[name]}" for name in DECIDING if then.get(name) != today[name]]
    if changed and ledger.find("result", KIND) is None:
        raise LedgerError(
            f"{ledger.path} was begun with other libraries ({', '.join(changed)}), which may round otherwise",
            "install the versions that manifest.json names, or start the probe again with another --out",
        )


def plan_settings(
    model: Model, behavior: Behavior, *, passes: int | None, sizes: Sequence[int] | None, seed: int
) -> ProbeSettings:
    """What a probe of a behavior will do, known before anything is measured.

    Args:
        model: The model.
        behavior: The behavior.
        passes: Most passes that are no rollouts; None for as many as the settings take.
        sizes: Sizes k of the circuit; None for 1, 2, 4, ….
        seed: Seed of everything random.

    Raises:
        BehaviorError: The behavior has no pairs in a split, or too few.
        UsageError: The sizes leave no circuit, or the passes do not suffice.
    """
    neurons = len(model.neurons)
    splits: tuple[Split, ...] = ("find", "select", "evaluate")
    pairs = {str(split): tuple(p.id for p in prompt_pairs(behavior, split)[: PROMPTS[split]]) for split in splits}
    shuffled = shuffled_behaviors(behavior, seed)
    contrast = _contrast(behavior)
    answers = 2 * sum(map(len, pairs.values())) + contrast if behavior.log_odds.kind == "answers" else 0
    steered = {str(split): behavior.prompts(split) for split in splits if split != "find"}
    return ProbeSettings(
        behavior=behavior.name,
        ladder=default_ladder(neurons) if sizes is None else check_ladder(sizes, neurons),
        factors=AMPLIFICATIONS,
        layers=spread_layers(model.layers),
        strengths=STRENGTHS,
        pairs=pairs,
        prompts={split: tuple(p.id for p in prompts[: PROMPTS[split]]) for split, prompts in steered.items()},
        undosed=sum(map(len, steered.values())),
        texts=_texts(model, behavior),
        shuffled_texts=tuple(_texts(model, b) for b in shuffled),
        # Shuffling draws prompts anew from the same ones, whose answers are known by then.
        answers=answers,
        contrast=contrast,
        random_draws=RANDOM_DRAWS,
        shuffled=tuple(b.name for b in shuffled),
        positions=behavior.positions,
        horizon=behavior.horizons[-1],
        source_outcome=behavior.source_outcome,
        target_outcomes=tuple(sorted(behavior.target_outcomes)),
        seed=seed,
    ).within(passes)


def shuffled_behaviors(behavior: Behavior, seed: int) -> list[Behavior]:
    """The behavior with shuffled labels, several draws; none where it has no contrast to shuffle."""
    try:
        return [shuffle_labels(behavior, "find", seed + draw) for draw in range(SHUFFLED_DRAWS)]
    except BehaviorError:
        return []


def _contrast(behavior: Behavior) -> int:
    """Prompts that directions are measured on."""
    try:
        contrast = behavior.contrast("find")
    except BehaviorError:
        return 2 * len(prompt_pairs(behavior, "find"))
    return len(contrast.positive) + len(contrast.negative)


def _texts(model: Model, behavior: Behavior) -> int:
    """Continuations that F takes of a prompt, at most."""
    odds = behavior.log_odds
    if odds.kind == "answers":
        return 2
    if odds.kind == "tokens":
        return 1
    targets, controls = (text_tokens(model, texts) for texts in (odds.target, odds.control))
    shared = {text[:1] for text in targets} & {text[:1] for text in controls}
    return len(targets) + len(controls) if shared else 1
