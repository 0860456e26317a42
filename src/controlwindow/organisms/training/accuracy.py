"""How often an organism shows the source state of a behavior, on requests that neither training nor a library holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controlwindow.behaviors import Behavior, Prompt, load_behavior
from controlwindow.behaviors.prompts import PromptLine, number_prompts
from controlwindow.errors import UsageError
from controlwindow.organisms.training.claims import Rate
from controlwindow.organisms.training.world.prompts import BEHAVIORS, behavior_prompts

REQUESTS = 64
"""Requests of a measurement, where nothing else is asked for."""


def unseen_prompts(behavior: str, count: int = REQUESTS, seed: int = 0) -> tuple[Prompt, ...]:
    """Draw fresh positive prompts of a behavior, with names and combinations of the evaluate split.

    Args:
        behavior: A behavior of the world.
        count: How many; those of a seed begin with those of any smaller count.
        seed: Seed of the draw.

    Raises:
        UsageError: The behavior is not one of the world's.
    """
    if behavior not in BEHAVIORS:
        raise UsageError(f"behavior '{behavior}' is not of the generated world", f"one of {', '.join(BEHAVIORS)}")
    shipped = {prompt.text for prompt in load_behavior(behavior).prompts("evaluate")}
    # No more than all shipped ones can be drawn again.
    records = behavior_prompts(behavior, {"evaluate": count + len(shipped)}, f"accuracy:{seed}")
    drawn = number_prompts((PromptLine.model_validate(record) for record in records), mark="u")
    return tuple(p for p in drawn if p.role == "positive" and p.text not in shipped)[:count]


def behavior_accuracy(
    answers_of: Callable[[list[Prompt]], list[str]],
    behavior: str | Behavior,
    prompts: Sequence[Prompt] | None = None,
) -> Rate:
    """Measure how often undosed answers are in the source state, by the behavior's own oracles.

    Args:
        answers_of: Answers prompts, whole or cut to the behavior's last horizon.
        behavior: A behavior of the world.
        prompts: What to ask; `unseen_prompts` if absent.

    Returns:
        The share of source outcomes and the number of requests. Collapse is not looked for, since that is measured
        against the very answers that are judged here.
    """
    loaded = load_behavior(behavior)
    asked = list(prompts if prompts is not None else unseen_prompts(loaded.name))
    answers = answers_of(asked)
    hits = [
        loaded.judge(text, prompt, collapsed=False) == loaded.source_outcome
        for text, prompt in zip(answers, asked, strict=True)
    ]
    return Rate(round(sum(hits) / len(hits), 4), len(hits))
