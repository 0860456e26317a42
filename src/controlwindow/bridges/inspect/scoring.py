"""Typed outcomes as a scorer of Inspect: refused, actionable, switched, … as a behavior's oracles name them."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState

from controlwindow.behaviors import Behavior, Prompt, load_to_run
from controlwindow.bridges.batching import Engine
from controlwindow.bridges.inspect.api import KEY, DosedModel
from controlwindow.bridges.inspect.waiting import answered
from controlwindow.bridges.judging import coherence_of, content
from controlwindow.errors import UsageError
from controlwindow.models.conversations import turns_of

NOT_JUDGED = "coherence was not judged: the answer is no dosed model's"


@scorer(metrics={"*": [mean(), stderr()]})  # type: ignore[untyped-decorator]
def outcomes(behavior: str, horizon: int | None = None, remote_judge: bool = False) -> Scorer:
    """Score an answer 1 for its outcome and 0 for every other outcome of a behavior.

    Of a dosed model's answer it is judged first whether it has collapsed, beside the undosed answer to the same prompt,
    as an audit does. Of another model's, which has no undosed answer, an empty one alone counts as collapsed.

    Args:
        behavior: A name, or a path to a TOML file.
        horizon: Length in tokens at which answers are judged; None takes the behavior's longest.
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
    """
    loaded = load_to_run(behavior, remote_judge=remote_judge)
    length = horizon or loaded.horizons[-1]

    async def score(state: TaskState, target: Target) -> Score:
        engine, told = _dosed(state)
        reference: tuple[int, ...] = ()
        if engine is not None:
            reference = (await answered(coherence_of(engine).reference(told["prompt_ids"], length))).token_ids
        return await anyio.to_thread.run_sync(lambda: _score(loaded, state, engine, told, reference, length))

    return score


def _dosed(state: TaskState) -> tuple[Engine | None, dict[str, Any]]:
    """The engine that gave an answer, and what its log says of it; no engine for another model's."""
    told = (state.output.metadata or {}).get(KEY)
    model = get_model()
    if told is None or not isinstance(model.api, DosedModel):
        return None, {}
    return model.api.engine, dict(told)


def _score(
    behavior: Behavior,
    state: TaskState,
    engine: Engine | None,
    told: dict[str, Any],
    reference: tuple[int, ...],
    horizon: int,
) -> Score:
    prompt = prompt_of(behavior, state)
    text, whole, ended, note = state.output.completion, state.output.completion, True, NOT_JUDGED
    collapsed = not text.strip()
    if engine is not None:
        note, tokens = "", told["token_ids"]
        collapsed = coherence_of(engine).collapsed(told["prompt_ids"], tokens, reference, horizon)
        text = engine.model.decode(content(engine.model, tokens, horizon))
        whole = engine.model.decode(content(engine.model, tokens, len(tokens)))
        ended = bool({*tokens[-1:]} & engine.model.stop_ids)
    outcome = behavior.judge(text, prompt, collapsed, whole=whole, ended=ended)
    return Score(
        value={name: float(name == outcome) for name in behavior.outcomes},
        answer=outcome,
        explanation=note or None,
        metadata={"outcome": outcome, "horizon": horizon},
    )


def prompt_of(behavior: Behavior, state: TaskState) -> Prompt:
    """The behavior's prompt that a sample asks, by its id or its text; else one of which nothing but its text is known.

    Raises:
        UsageError: It is none of the behavior's, whose oracles compare answers with what a prompt says of them.
    """
    known = behavior.prompts("evaluate")
    by_id = next((prompt for prompt in known if prompt.id == str(state.sample_id)), None)
    text = state.input_text
    # Several turns are told apart by the id alone.
    if by_id is not None and turns_of(by_id.text)[-1] == text:
        return by_id
    by_text = next((prompt for prompt in known if prompt.text == text), None)
    if by_text is not None:
        return by_text
    needed = sorted({name for oracle in behavior.definition.oracles.values() for name in oracle.prompt_fields()})
    if needed:
        raise UsageError(
            f"the sample {state.sample_id} is no evaluation prompt of {behavior.name}, whose oracles read "
            f"{', '.join(needed)} of a prompt",
            "score the behavior's own prompts (controlwindow/behavior), or use a behavior that reads text alone",
        )
    return Prompt(str(state.sample_id), text, "evaluate")
