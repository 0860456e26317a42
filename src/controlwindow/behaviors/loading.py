"""From a name or a TOML file to a validated behavior, before any model is loaded."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controlwindow.behaviors.definition import MINIMUM_EVALUATE, Behavior, BehaviorDefinition, PromptTexts
from controlwindow.behaviors.oracles import known_oracles
from controlwindow.behaviors.prompts import (
    ROLES,
    SPLITS,
    Contrast,
    Prompt,
    PromptLine,
    check_disjoint,
    normalized,
    number_prompts,
    read_prompt_lines,
    read_text_lines,
)
from controlwindow.errors import BehaviorError


def library() -> Path:
    """Folder of the shipped behaviors."""
    return Path(str(resources.files(__package__).joinpath("library")))


def known_behaviors() -> tuple[str, ...]:
    """Names of the shipped behaviors."""
    return tuple(sorted(path.stem for path in library().glob("*.toml")))


def load_behavior(behavior: str | Path | Behavior, *, needs_contrast: bool = False) -> Behavior:
    """Read and validate a behavior; nothing about a model is needed.

    Args:
        behavior: Name of a shipped behavior, path to a TOML file, or a behavior, which passes through.
        needs_contrast: Also require X+ and X− of the find split, as screens do.

    Raises:
        BehaviorError: The name is unknown, or the file or its prompts are invalid; names file, key and line.
    """
    loaded = behavior if isinstance(behavior, Behavior) else _read_behavior(_find(str(behavior)))
    if needs_contrast:
        loaded.contrast("find")
    return loaded


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() == ".toml" or path.is_file():
        return path
    shipped = library() / f"{name}.toml"
    if name in known_behaviors():
        return shipped
    raise BehaviorError(
        f"unknown behavior '{name}'", f"known behaviors: {', '.join(known_behaviors())}; or a path to a TOML file"
    )


def _read_behavior(path: Path) -> Behavior:
    try:
        source = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BehaviorError(
            f"no behavior file {path}",
            f"check the path, or use a shipped behavior: {', '.join(known_behaviors())}",
        ) from error
    except UnicodeDecodeError as error:
        raise BehaviorError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise BehaviorError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    try:
        table = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise BehaviorError(*_syntax_error(path, source, str(error))) from error
    try:
        definition = BehaviorDefinition.model_validate(table)
    except ValidationError as error:
        raise _schema_error(path, source, table, error.errors()) from error
    return assemble(definition, path)


def assemble(definition: BehaviorDefinition, path: Path) -> Behavior:
    """Read the prompts that a definition names, check them, and join both.

    Args:
        definition: A validated definition.
        path: The file that it came from; prompt files are looked for beside it.

    Raises:
        BehaviorError: Prompts are missing, malformed, too few, or stand in two splits.
    """
    sources = definition.prompts
    lines = read_prompt_lines(path.parent / sources.file) if sources.file else []
    for split in SPLITS:
        for role in ROLES:
            texts = _texts(getattr(getattr(sources, split), role), path)
            lines += [PromptLine(text=text, split=split, role=role) for text in texts]
    only = definition.languages[0] if len(definition.languages) == 1 else None
    prompts = number_prompts(line.model_copy(update={"language": line.language or only}) for line in lines)
    inline = None
    if definition.contrast is not None:
        given = definition.contrast
        pairs = [(role, text) for role in ROLES for text in _texts(getattr(given, role), path)]
        numbered = number_prompts(
            [PromptLine(text=text, split="find", role=role, language=only) for role, text in pairs], mark="c"
        )
        inline = Contrast(
            tuple(prompt for prompt in numbered if prompt.role == "positive"),
            tuple(prompt for prompt in numbered if prompt.role == "negative"),
        )
    behavior = Behavior(definition, prompts, inline)
    try:
        _check_prompts(behavior)
    except BehaviorError as error:
        raise BehaviorError(f"{path}: {error.message}", error.hint) from error
    return replace(behavior, file=str(path))


def _texts(source: PromptTexts, path: Path) -> Sequence[str]:
    return read_text_lines(path.parent / source) if isinstance(source, str) else source


def _check_prompts(behavior: Behavior) -> None:
    check_disjoint(behavior.all_prompts)
    inline = behavior.inline_contrast
    if inline is not None:
        # Screens may share prompts with the find split, but must not see what is selected on or reported.
        held_out = [prompt for prompt in behavior.all_prompts if prompt.split != "find"]
        check_disjoint([*held_out, *inline.positive, *inline.negative])
    perturbation = behavior.definition.perturbation
    if perturbation is not None:
        written = {"find": perturbation.pairs, "select": perturbation.select, "evaluate": perturbation.evaluate}
        taken: dict[str, set[str]] = {}
        for prompt in behavior.all_prompts:
            taken.setdefault(normalized(prompt.text), set()).add(prompt.split)
        for split, pairs in written.items():
            for text in dict.fromkeys(text for pair in pairs for text in pair):
                others = sorted(taken.setdefault(normalized(text), set()) - {split})
                if others:
                    raise BehaviorError(
                        f"prompt {text!r} stands in [perturbation] for '{split}' and in split '{others[0]}'",
                        "leave it in one of them: what is reported must not have been seen by screens or choices",
                    )
                taken[normalized(text)].add(split)
    needed = max(MINIMUM_EVALUATE, behavior.minimum_eligible)
    count = len(behavior.prompts("evaluate"))
    if count < needed:
        raise BehaviorError(
            f"split 'evaluate' has {count} positive prompts, {needed} are needed",
            "add prompts to the split 'evaluate' (32 or more give useful intervals)",
        )
    if inline is not None or any(
        prompt.role == "negative" and prompt.split == "find" for prompt in behavior.all_prompts
    ):
        behavior.contrast("find")
    judged = [prompt for split in SPLITS if split != "find" for prompt in behavior.prompts(split)]
    for name, oracle in behavior.definition.oracles.items():
        for field in oracle.prompt_fields():
            _require_field(judged, field, name, oracle.model_dump()["type"])


def _require_field(prompts: Sequence[Prompt], field: str, name: str, kind: str) -> None:
    without = [prompt for prompt in prompts if not getattr(prompt, field)]
    if without:
        raise BehaviorError(
            f"oracle '{name}' ({kind}) needs '{field}' of every prompt; {len(without)} of {len(prompts)} have none, "
            f"the first is {without[0].id}: {without[0].text!r}",
            f"give '{field}' in the prompts' JSON lines file",
        )


def _syntax_error(path: Path, source: str, message: str) -> tuple[str, str]:
    found = re.search(r"\s*\(at line (\d+), column (\d+)\)", message)
    line = int(found[1]) if found else source.rstrip("\n").count("\n") + 1
    reason = message[: found.start()] if found else message.replace(" (at end of document)", "")
    return f"{path}, line {line}: not valid TOML: {reason}", "strings need quotes, tables are written [name]"


def _schema_error(path: Path, source: str, table: Mapping[str, Any], errors: Sequence[ErrorDetails]) -> BehaviorError:
    lines = key_lines(source)
    messages, hints = [], []
    for error in errors:
        keys = _key_path(table, error)
        text = ".".join(map(str, keys)) or "(top level)"
        line = next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), 1)
        message, hint = _explain(error, keys)
        messages.append(f"{path}, line {line}, key '{text}': {message}")
        hints.append(hint)
    # A value that fits no member of a union is reported once for each of them.
    unique = list(dict.fromkeys(messages))
    return BehaviorError("\n".join(unique), next(filter(None, hints), "see docs/behaviors.md for every field"))


def _key_path(table: Mapping[str, Any], error: ErrorDetails) -> tuple[str | int, ...]:
    if "key" in error.get("ctx", {}):
        return tuple(str(error["ctx"]["key"]).split("."))
    keys: list[str | int] = []
    here: Any = table
    for part in error["loc"]:
        # The parts of a pydantic location that are not keys of the file name members of a union.
        if isinstance(here, Mapping) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif error["type"] in {"missing", "union_tag_not_found"} and part == error["loc"][-1]:
            keys.append(part)
            break
        else:
            continue
        keys.append(part)
    return tuple(keys)


def _explain(error: ErrorDetails, keys: tuple[str | int, ...]) -> tuple[str, str]:
    kind = error["type"]
    oracles = f"known oracles: {', '.join(known_oracles())}"
    if kind == "union_tag_invalid":
        return f"unknown oracle '{error['ctx']['tag']}'", oracles
    if kind == "union_tag_not_found":
        return "an oracle needs a 'type'", oracles
    if kind == "missing":
        return "is missing", f"add {keys[-1]}"
    if kind == "extra_forbidden":
        return "unknown key", "see docs/behaviors.md for every field"
    message = error["msg"]
    return message[0].lower() + message[1:], ""


def key_lines(source: str) -> dict[tuple[str | int, ...], int]:
    """Line, counted from 1, on which each key and table header of a valid TOML text stands.

    Example:
        >>> key_lines('a = 1\\n[b.c]\\nd = 2\\n')
        {('a',): 1, ('b',): 2, ('b', 'c'): 2, ('b', 'c', 'd'): 3}
    """
    found: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    header: tuple[str | int, ...] = ()
    lines = source.split("\n")
    for number, line in enumerate(lines, start=1):
        is_header = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$", line)
        is_key = re.match(
            r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=", line
        )
        if not (is_header or is_key) or not _complete("\n".join(lines[: number - 1])):
            continue
        if is_header:
            header = _split_key(is_header[1])
            if line.lstrip().startswith("[["):
                counts[header] = counts.get(header, -1) + 1
                found.setdefault(header, number)
                header = (*header, counts[header])
            path = header
        elif is_key:
            path = (*header, *_split_key(is_key[1]))
        for end in range(1, len(path) + 1):
            found.setdefault(path[:end], number)
    return found


def _split_key(key: str) -> tuple[str | int, ...]:
    return tuple(part.strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+", key))


def _complete(text: str) -> bool:
    # What looks like a key inside a multi-line string or list is none: there, the text before it is not a document.
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
