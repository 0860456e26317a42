"""Answers that people have labelled, and an oracle to be measured against them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from controlwindow.behaviors.loading import load_behavior
from controlwindow.behaviors.oracles import AnyOracle, Judgement, Oracle, OracleContext
from controlwindow.behaviors.outcomes import Answer, judge_answers
from controlwindow.behaviors.prompts import Prompt
from controlwindow.behaviors.tables import read_table
from controlwindow.errors import BehaviorError


class LabelledAnswer(NamedTuple):
    """An answer and what people say of it."""

    prompt: str
    answer: str
    label: bool


def read_labels(
    path: Path, yes: Sequence[str], *, prompt: str = "prompt", answer: str = "answer", label: str = "label"
) -> list[LabelledAnswer]:
    """Read labelled answers of a table.

    Args:
        path: The file, read by its suffix.
        yes: Labels that mean yes; every other one means no.
        prompt: The requests' column.
        answer: The answers' column.
        label: The labels' column.

    Raises:
        BehaviorError: The file cannot be read, lacks a column, or none or all of its labels mean yes.
    """
    table = read_table(path)
    table.require([prompt, answer, label])
    found = [
        LabelledAnswer(str(row.get(prompt) or ""), str(row.get(answer) or ""), _written(row.get(label)) in yes)
        for row in table.rows
    ]
    count = sum(one.label for one in found)
    if count in (0, len(found)):
        labels = sorted({_written(row.get(label)) for row in table.rows})[:10]
        raise BehaviorError(
            f"{path}: {count} of {len(found)} labels in '{label}' mean yes ({', '.join(yes)})",
            f"name those that do with --yes; the labels are {', '.join(labels)}",
        )
    return found


def find_oracle(text: str) -> tuple[Oracle, tuple[str, ...] | None]:
    """An oracle as a command names it, and the languages of its behavior, where it is one of a behavior.

    Args:
        text: A type (`refusal`), a table as in a behavior file (`{type = "regex", pattern = "^No"}`), or a behavior
            with the name of one of its oracles (`refusal:on_task`, `mine.toml:refused`).

    Raises:
        BehaviorError: There is no such oracle, or it is not valid.
    """
    place, mark, name = text.rpartition(":")
    if mark and not text.lstrip().startswith("{"):
        behavior = load_behavior(place)
        oracles = behavior.definition.oracles
        if name not in oracles:
            raise BehaviorError(f"behavior '{behavior.name}' has no oracle '{name}'", f"it has {', '.join(oracles)}")
        return oracles[name], behavior.languages
    try:
        table = tomllib.loads(f"oracle = {text}")["oracle"] if text.lstrip().startswith("{") else {"type": text}
    except (ValueError, RecursionError) as error:
        raise BehaviorError(f"{text!r} is no oracle: {error}", 'write it as in {type="refusal"}') from error
    adapter: TypeAdapter[Oracle] = TypeAdapter(AnyOracle)
    try:
        return adapter.validate_python(table), None
    except ValidationError as error:
        first = error.errors()[0]
        raise BehaviorError(
            f"{text!r} is no oracle: {first['msg'][0].lower()}{first['msg'][1:]}",
            'write a type, a table as in {type="refusal"}, or BEHAVIOR:ORACLE',
        ) from error


def judge_labelled(
    oracle: Oracle, answers: Sequence[LabelledAnswer], languages: tuple[str, ...] = ("en",)
) -> list[Judgement]:
    """What an oracle says of labelled answers.

    Raises:
        BehaviorError: It failed.
    """
    prompts = [
        Prompt(f"label.p{number:03d}", one.prompt, "evaluate", language=languages[0])
        for number, one in enumerate(answers)
    ]
    contexts = [OracleContext(prompt, languages) for prompt in prompts]
    return judge_answers("judge", oracle, [Answer(one.answer, one.answer) for one in answers], contexts)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
