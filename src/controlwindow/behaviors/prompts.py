"""Prompts of a behavior: reading them, keeping the splits apart, hashing them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.languages import Language
from controlwindow.behaviors.tables import read_table
from controlwindow.behaviors.text import caseless, is_blank, spaced
from controlwindow.errors import BehaviorError
from controlwindow.models.chat import conversation, turns_of

Split = Literal["find", "select", "evaluate"]
Role = Literal["positive", "negative"]

SPLITS: tuple[Split, ...] = get_args(Split)
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Prompt:
    """One prompt and what its answer is judged against.

    Attributes:
        id: Stable name inside its behavior, such as `evaluate.p012`.
        text: What the user asks, without chat template; several turns are joined by `models.chat.conversation`.
        split: `find` for screens, `select` for choices made on the way, `evaluate` for what is reported.
        role: `positive` prompts show the source state and are steered (X+); `negative` ones are the contrast (X−).
        language: ISO 639-1 code, where the prompt has one.
        steps: Sentences that a strictly correct answer contains, in order.
        about: Words that show that an answer is on the prompt's subject.
        source: Phrases of which an answer in the source state asserts one.
        target: Phrases of which an answer in the target state asserts one.
    """

    id: str
    text: str
    split: Split
    role: Role = "positive"
    language: str | None = None
    steps: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """The two prompt sets that a screen compares: X+ (`positive`) and X− (`negative`)."""

    positive: tuple[Prompt, ...]
    negative: tuple[Prompt, ...]


def _seen(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("blank", "nothing of it is to be seen")
    if len(turns_of(text)) > 1:
        raise PydanticCustomError(
            "turns", "it holds the control character U+001E, which parts the turns of a conversation"
        )
    return text


_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S"), AfterValidator(_seen)]


class PromptLine(BaseModel):
    """One line of a prompt file: the fields a user may write.

    Attributes:
        text: The user's message, the last one of a conversation.
        history: Earlier turns of the conversation, (user's message, assistant's message) each.

    The others are those of `Prompt`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: _Text
    history: tuple[tuple[_Text, _Text], ...] = ()
    split: Split
    role: Role = "positive"
    language: Language | None = None
    steps: tuple[_Text, ...] = ()
    about: tuple[_Text, ...] = ()
    source: tuple[_Text, ...] = ()
    target: tuple[_Text, ...] = ()

    @model_validator(mode="after")
    def _states_told_apart(self) -> PromptLine:
        known = {normalized(text) for text in self.target}
        both = [text for text in self.source if normalized(text) in known]
        if both:
            raise PydanticCustomError("same", "'{text}' is both source and target", {"text": both[0]})
        return self


def read_prompt_lines(path: Path) -> list[PromptLine]:
    """Read a file of whole prompts: JSON lines, or a table whose columns are the fields of a prompt.

    Raises:
        BehaviorError: The file cannot be read, or a line is not JSON or not a prompt; names file and line.
    """
    table = read_table(path)
    return [
        # What a file without types leaves empty is not given.
        prompt_line({name: cell for name, cell in row.items() if cell not in (None, "")}, f"{path}, {place}")
        for row, place in zip(table.rows, table.places, strict=True)
    ]


def prompt_line(fields: Mapping[str, object], where: str) -> PromptLine:
    """A prompt of its fields.

    Args:
        fields: By the names of `PromptLine`.
        where: What errors begin with: file and line.

    Raises:
        BehaviorError: A field is unknown, missing or wrong; names it.
    """
    try:
        return PromptLine.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise BehaviorError(
            where + (f", key '{key}'" if key else "") + f": {first['msg'][0].lower()}{first['msg'][1:]}",
            f"the keys of a prompt are {', '.join(PromptLine.model_fields)}",
        ) from error


def number_prompts(lines: Iterable[PromptLine], mark: str = "") -> tuple[Prompt, ...]:
    """Give every line its id, counted within split and role in the order of the file.

    Args:
        lines: Prompts as written.
        mark: Put before the role's letter, to keep two sources of prompts apart.
    """
    counts: dict[tuple[Split, Role], int] = {}
    prompts = []
    for line in lines:
        number = counts.get((line.split, line.role), 0)
        counts[line.split, line.role] = number + 1
        identity = f"{line.split}.{mark}{line.role[0]}{number:03d}"
        text = conversation(*chain.from_iterable(line.history), line.text)
        prompts.append(
            Prompt(
                identity,
                text,
                line.split,
                line.role,
                line.language,
                line.steps,
                line.about,
                line.source,
                line.target,
            )
        )
    return tuple(prompts)


def normalized(text: str) -> str:
    """The form in which two prompts count as the same: what is seen of them, whatever its case and whitespace.

    Example:
        >>> normalized(" Open  the\\nVault ") == normalized("open the vault")
        True
    """
    return spaced(caseless(text))


def check_disjoint(prompts: Sequence[Prompt]) -> None:
    """Refuse a prompt that stands in two splits, or twice in one.

    Raises:
        BehaviorError: Names the prompt and both places.
    """
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        other = seen.setdefault(normalized(prompt.text), prompt)
        if other is prompt:
            continue
        if other.split != prompt.split:
            raise BehaviorError(
                f"prompt {prompt.text!r} stands in two splits, '{other.split}' and '{prompt.split}'",
                "leave it in one of them: what is reported must not have been seen by screens or choices",
            )
        raise BehaviorError(
            f"prompt {prompt.text!r} stands twice in split '{prompt.split}' ({other.role} and {prompt.role})",
            "leave it once: intervals count prompts as independent",
        )


def fingerprint_prompts(prompts: Iterable[Prompt]) -> str:
    """sha256 over everything a prompt holds, independent of the order of the file's keys."""
    return fingerprint_json([prompt_record(prompt) for prompt in prompts])


def prompt_record(prompt: Prompt) -> Mapping[str, object]:
    """A prompt as JSON-ready values."""
    record: dict[str, object] = {
        "id": prompt.id,
        "text": prompt.text,
        "language": prompt.language,
        "steps": list(prompt.steps),
        "about": list(prompt.about),
    }
    # Written only where they are given, so that fingerprints of prompts without them stay what they were.
    return record | {name: list(given) for name in ("source", "target") if (given := getattr(prompt, name))}


def fingerprint_json(value: object) -> str:
    """sha256 of a JSON-ready value in canonical form."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
