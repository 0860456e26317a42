"""A behavior as a task of Inspect: its evaluation prompts, scored by its outcomes; nothing is downloaded."""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.solver import generate

from controlwindow.behaviors import load_to_run
from controlwindow.bridges.inspect.scoring import outcomes
from controlwindow.models.conversations import turns_of


@task  # type: ignore[untyped-decorator]
def behavior(behavior: str, horizon: int | None = None, remote_judge: bool = False) -> Task:
    """The evaluation prompts of a behavior, scored by `outcomes`.

    Args:
        behavior: A name, or a path to a TOML file.
        horizon: Length of the answers in tokens; None takes the behavior's longest.
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
    """
    loaded = load_to_run(behavior, remote_judge=remote_judge)
    length = horizon or loaded.horizons[-1]
    samples = []
    for prompt in loaded.prompts("evaluate"):
        turns = turns_of(prompt.text)
        messages = [
            (ChatMessageUser, ChatMessageAssistant)[place % 2](content=turn) for place, turn in enumerate(turns)
        ]
        samples.append(Sample(input=turns[0] if len(turns) == 1 else messages, id=prompt.id))
    return Task(
        name=loaded.name,
        dataset=MemoryDataset(samples, name=loaded.name),
        solver=generate(),
        scorer=outcomes(behavior, length, remote_judge),
        config=GenerateConfig(max_tokens=length),
    )
