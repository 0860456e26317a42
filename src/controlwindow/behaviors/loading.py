"""From a name or a TOML file to a validated behavior, before any model is loaded."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from controlwindow.behaviors.agreement_files import agreements_of
from controlwindow.behaviors.definition import MINIMUM_EVALUATE, Behavior, BehaviorDefinition
from controlwindow.behaviors.files import LARGEST_DEFINITION, read_text
from controlwindow.behaviors.prompts import (
    ROLES,
    SPLITS,
    Contrast,
    Prompt,
    PromptLine,
    Role,
    Split,
    check_disjoint,
    normalized,
    number_prompts,
    prompt_line,
    read_prompt_lines,
)
from controlwindow.behaviors.sources import PromptTexts, read_source
from controlwindow.behaviors.toml_errors import key_lines as key_lines
from controlwindow.behaviors.toml_errors import schema_error, syntax_error
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

    Example:
        >>> load_behavior("language").languages
        ('en', 'fr')
    """
    loaded = behavior if isinstance(behavior, Behavior) else _read_behavior(_find(str(behavior)))
    if needs_contrast:
        loaded.contrast("find")
    return loaded


def load_to_run(behavior: str | Path | Behavior, *, remote_judge: bool = False) -> Behavior:
    """A behavior that is about to be measured: what its judges need is at hand and allowed.

    Args:
        behavior: As `load_behavior`.
        remote_judge: Whether answers may leave this machine although the behavior is sensitive.

    Raises:
        BehaviorError: As `load_behavior`; a judge elsewhere would be sent answers of a sensitive behavior without
            leave; or a file of [agreement] cannot be used.
        ModelError: A judge on this machine cannot be loaded.
    """
    loaded = load_behavior(behavior)
    loaded = replace(loaded, remote_judge=remote_judge or loaded.remote_judge)
    try:
        loaded.require_leave()
    except BehaviorError as error:
        raise BehaviorError(loaded.where + error.message, error.hint) from error
    agreements_of(loaded)
    # A judge on this machine is loaded for its fingerprint.
    _ = loaded.fingerprint
    return loaded


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() == ".toml" or os.path.isfile(name):
        return path
    shipped = library() / f"{name}.toml"
    if name in known_behaviors():
        return shipped
    raise BehaviorError(
        f"unknown behavior {name!r}", f"known behaviors: {', '.join(known_behaviors())}; or a path to a TOML file"
    )


def _read_behavior(path: Path) -> Behavior:
    source = read_text(
        path,
        LARGEST_DEFINITION,
        absent="no behavior file",
        hint=f"check the path, or use a shipped behavior: {', '.join(known_behaviors())}",
    )
    try:
        table = tomllib.loads(source.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise BehaviorError(*syntax_error(path, source, str(error))) from error
    except (RecursionError, ValueError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise BehaviorError(f"{path}: not valid TOML: {what}", "every field: controlwindow guide behaviors") from error
    try:
        definition = BehaviorDefinition.model_validate(table, context={"folder": path.parent})
    except ValidationError as error:
        raise schema_error(path, source, table, error.errors()) from error
    except BehaviorError as error:
        raise BehaviorError(f"{path}: {error.message}", error.hint) from error
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
            lines += _lines(getattr(getattr(sources, split), role), split, role, path, f"prompts.{split}")
    only = definition.languages[0] if len(definition.languages) == 1 else None
    prompts = number_prompts(line.model_copy(update={"language": line.language or only}) for line in lines)
    inline = None
    if definition.contrast is not None:
        given = [
            line
            for role in ROLES
            for line in _lines(getattr(definition.contrast, role), "find", role, path, "contrast")
        ]
        numbered = number_prompts(
            (line.model_copy(update={"language": line.language or only}) for line in given), mark="c"
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


def _lines(texts: PromptTexts, split: Split, role: Role, path: Path, key: str) -> list[PromptLine]:
    lines = []
    for found in read_source(texts, path.parent):
        *earlier, last = found.turns
        fields = {**found.fields, "text": last, "split": split, "role": role}
        if earlier:
            fields["history"] = list(zip(earlier[::2], earlier[1::2], strict=True))
        written = isinstance(texts, tuple)
        lines.append(prompt_line(fields, f"{path}, {role} {key}, {found.place}" if written else found.place))
    return lines


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
