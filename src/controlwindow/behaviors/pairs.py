"""Prompts beside their minimally perturbed versions, split by split (PP; method section 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from controlwindow.behaviors.definition import Behavior
from controlwindow.behaviors.prompts import Prompt, Split
from controlwindow.errors import BehaviorError

LEAST_PAIRS = 4
"""Fewest pairs of a split that anything is concluded from."""


class PromptPair(NamedTuple):
    """A prompt X and its perturbed version X~.

    Attributes:
        id: The prompt's id.
        prompt: X.
        perturbed: X~, with an id of its own.
    """

    id: str
    prompt: Prompt
    perturbed: Prompt


def prompt_pairs(behavior: Behavior, split: Split) -> tuple[PromptPair, ...]:
    """A behavior's pairs of one split; splits share none, as they share no prompts.

    Raises:
        BehaviorError: The behavior defines no perturbation, or too few pairs for this split, or none that differ.
    """
    perturbation = behavior.definition.perturbation
    if perturbation is None:
        raise BehaviorError(
            f"{behavior.where}behavior '{behavior.name}' defines no perturbation, so there are no pairs to probe",
            'add [perturbation] to its file, as kind = "swap_characters" or with pairs (controlwindow guide behaviors)',
        )
    if perturbation.kind == "pairs":
        texts = behavior.perturbation_pairs(split)
        prompts = [Prompt(f"{split}.x{place:03d}", text, split) for place, (text, _) in enumerate(texts)]
        mates = [replace(one, text=text) for one, (_, text) in zip(prompts, texts, strict=True)]
    elif perturbation.kind == "contrast":
        contrast = behavior.contrast(split)
        prompts, mates = list(contrast.positive), list(contrast.negative)
    else:
        prompts = list(behavior.prompts(split))
        texts = behavior.perturbation_pairs(split)
        mates = [replace(one, text=text) for one, (_, text) in zip(prompts, texts, strict=True)]
    pairs = [
        PromptPair(one.id, one, replace(other, id=f"{one.id}~", split=split))
        for one, other in zip(prompts, mates, strict=False)
    ]
    if len(pairs) < LEAST_PAIRS:
        raise BehaviorError(
            f"{behavior.where}behavior '{behavior.name}' has {len(pairs)} perturbation pairs in split '{split}', "
            f"{LEAST_PAIRS} are needed",
            f'write them into [perturbation], as {split} = [["prompt", "perturbed prompt"], …]'
            if perturbation.kind == "pairs"
            else f"add prompts to the split '{split}'",
        )
    if all(pair.prompt.text == pair.perturbed.text for pair in pairs):
        raise BehaviorError(
            f"{behavior.where}behavior '{behavior.name}': the perturbation changes none of the {len(pairs)} prompts of "
            f"'{split}'",
            'give pairs that differ with kind = "pairs"',
        )
    return tuple(pairs)


def behavior_of_pairs(behavior: Behavior) -> Behavior:
    """A behavior whose prompts to be steered are both sides of every pair, judged by the same oracles.

    So undosed rollouts of X and X~ can be compared with F on them. A perturbed prompt keeps what its answer is judged
    against.

    Raises:
        BehaviorError: As `prompt_pairs`, for select and evaluate.
    """
    prompts = tuple(
        replace(prompt, role="positive")
        for split in ("select", "evaluate")
        for pair in prompt_pairs(behavior, split)
        for prompt in (pair.prompt, pair.perturbed)
    )
    definition = behavior.definition.model_copy(update={"name": f"{behavior.name}.pairs"})
    return Behavior(definition, prompts)
