"""Controls of a screen: the same selection without what it is said to select by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import LogOdds, Perturbation
from controlwindow.behaviors.prompts import Contrast, Split
from controlwindow.statistics import stable_seed

CONTROLS = ("shuffled", "random")


def shuffle_labels(behavior: Behavior, split: Split, seed: int) -> Behavior:
    """The behavior with its labels shuffled, under a name of its own.

    X+ and X− are drawn anew from both together, and so are target and control texts; which side of a perturbation pair
    is the perturbed one is drawn for each. Prompts, texts and their numbers stay, so a screen costs what it costs
    otherwise. Splits that are not screened stay as they are.

    Args:
        behavior: The behavior.
        split: The split that is screened.
        seed: Seed of the draw.

    Raises:
        BehaviorError: The split has no contrast.
    """
    generator = np.random.default_rng(stable_seed("shuffled labels", behavior.name, split, seed))
    contrast = behavior.contrast(split)
    pooled = [*contrast.positive, *contrast.negative]
    order = generator.permutation(len(pooled))
    cut = len(contrast.positive)
    positive = tuple(replace(pooled[i], role="positive") for i in order[:cut])
    negative = tuple(replace(pooled[i], role="negative") for i in order[cut:])
    definition = behavior.definition
    pairs = behavior.perturbation_pairs()
    if pairs:
        turned = generator.random(len(pairs)) < 0.5
        shuffled = tuple((b, a) if turn else (a, b) for (a, b), turn in zip(pairs, turned, strict=True))
        definition = definition.model_copy(update={"perturbation": Perturbation(kind="pairs", pairs=shuffled)})
    odds = behavior.log_odds
    if odds.kind != "answers":
        texts = [*odds.target, *odds.control]
        drawn = generator.permutation(len(texts))
        definition = definition.model_copy(
            update={
                "log_odds": LogOdds(
                    kind=odds.kind,
                    target=tuple(texts[i] for i in drawn[: len(odds.target)]),
                    control=tuple(texts[i] for i in drawn[len(odds.target) :]),
                    answer_tokens=odds.answer_tokens,
                )
            }
        )
    definition = definition.model_copy(update={"name": f"{behavior.name}.shuffled{seed}"})
    if split == "find":
        return replace(behavior, definition=definition, inline_contrast=Contrast(positive, negative))
    others = tuple(prompt for prompt in behavior.all_prompts if prompt.split != split)
    return replace(behavior, definition=definition, all_prompts=(*others, *positive, *negative))
