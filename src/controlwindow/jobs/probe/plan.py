"""The plan of a probe: what was asked for and the settings that follow, committed before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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
from controlwindow.errors import BehaviorError
from controlwindow.instruments.objectives import text_tokens
from controlwindow.models import Model
from controlwindow.runs.plan import BehaviorPlan
from controlwindow.screens.controls import shuffle_labels

RANDOM_DRAWS = 3
SHUFFLED_DRAWS = 2


class ProbePlan(BehaviorPlan):
    """What a probe does.

    Attributes:
        passes: Most passes that are no rollouts; None for as many as the settings take.
        settings: What will be done.
    """

    kind: ClassVar[str] = "probe"

    passes: int | None = None
    settings: ProbeSettings


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
