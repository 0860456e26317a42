"""A behavior from tables of prompts: duplicates dropped and counted, splits that never meet, drawn from a seed."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from controlwindow.behaviors.definition import LONGEST_NAME, NAME, Behavior
from controlwindow.behaviors.loading import load_behavior
from controlwindow.behaviors.prompts import SPLITS, Split, normalized
from controlwindow.behaviors.sources import EmptyCell, Found, TableSource, choose, open_table, prompt_of
from controlwindow.errors import BehaviorError
from controlwindow.models.chat import conversation
from controlwindow.statistics import stable_seed

#: Oracles of a behavior for which none are given: requests that are declined.
REFUSAL_ORACLES: Mapping[str, Mapping[str, Any]] = {"refused": {"type": "refusal"}}


@dataclass(frozen=True)
class Recipe:
    """What a behavior is made of.

    Attributes:
        name: Its name; files are named after it.
        positive: Prompts to be steered (X+).
        negative: The contrast (X−), where there is one.
        sizes: Prompts of either role by split.
        seed: Seed of the draw.
        oracles: Oracles by name, as in a behavior file. With one named `target` the behavior is a switch, else a
            refusal.
        languages: ISO 639-1 codes.
        horizons: Tokens, ascending.
        sensitive: Whether completions stay out of reports; None says yes for refusals.
        paired: Whether the i-th rows of both tables belong together, as translations do; they go into one split, at the
            same place.
        description: A sentence for readers.
    """

    name: str
    positive: TableSource
    negative: TableSource | None = None
    sizes: Mapping[Split, int] = field(default_factory=lambda: {"find": 64, "select": 32, "evaluate": 64})
    seed: int = 0
    oracles: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: dict(REFUSAL_ORACLES))
    languages: tuple[str, ...] = ("en",)
    horizons: tuple[int, ...] = (16, 32, 64)
    sensitive: bool | None = None
    paired: bool = False
    description: str = ""

    @property
    def outcomes(self) -> str:
        """The kind of behavior that the oracles make."""
        return "switch" if "target" in self.oracles else "refusal"


class SideCount(NamedTuple):
    """What became of one table's rows.

    Attributes:
        source: The table.
        rows: Rows that met the conditions.
        empty: Rows left out because a message is empty.
        duplicates: Rows left out because their prompt is there already, here or on the other side.
        used: Prompts written.
    """

    source: str
    rows: int
    empty: int
    duplicates: int
    used: int


class MadeBehavior(NamedTuple):
    """A behavior as written.

    Attributes:
        behavior: The behavior, read back and validated.
        path: Its TOML file.
        prompts: Its JSON lines file.
        sides: What became of the rows, by role.
    """

    behavior: Behavior
    path: Path
    prompts: Path
    sides: Mapping[str, SideCount]


def make_behavior(recipe: Recipe, out: Path, folder: Path | None = None) -> MadeBehavior:
    """Draw the prompts and write a behavior file with its prompts.

    Args:
        recipe: What it is made of.
        out: Directory to write NAME.toml and NAME.jsonl to.
        folder: Where tables are looked for; the working directory by default.

    Raises:
        BehaviorError: A table cannot be read or is too small, what is made is no valid behavior, or the files exist.
    """
    if not re.fullmatch(NAME, recipe.name) or len(recipe.name) > LONGEST_NAME:
        raise BehaviorError(
            f"{recipe.name!r} cannot be the name of a behavior",
            f"use up to {LONGEST_NAME} letters, digits and . _ -, a letter or digit first",
        )
    path, prompts = out / f"{recipe.name}.toml", out / f"{recipe.name}.jsonl"
    for file in (path, prompts):
        if os.path.lexists(file):
            raise BehaviorError(f"{file} exists", "give another name or --out; nothing is overwritten")
    lines, sides = _draw(recipe, folder or Path())
    texts = {prompts.name: "".join(line + "\n" for line in lines), path.name: _definition(recipe)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Tried out of sight first: what is put in place is whole and valid.
        with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as hidden:
            for name, text in texts.items():
                (Path(hidden) / name).write_text(text, "utf-8")
            try:
                load_behavior(Path(hidden) / path.name)
            except BehaviorError as error:
                raise BehaviorError(error.message.replace(hidden, str(out)), error.hint) from error
            for name in texts:
                os.replace(Path(hidden) / name, out / name)
    except OSError as error:
        raise BehaviorError(f"{path} cannot be written: {error.strerror}", "check permissions and space") from error
    return MadeBehavior(load_behavior(path), path, prompts, sides)


class _Side(NamedTuple):
    source: str
    rows: int
    empty: set[int]
    prompts: Sequence[Found | None]


def _draw(recipe: Recipe, folder: Path) -> tuple[list[str], dict[str, SideCount]]:
    """Lines of the prompt file, and what became of each side's rows."""
    sources = {"positive": recipe.positive, **({"negative": recipe.negative} if recipe.negative else {})}
    sides = {role: _read(source, folder) for role, source in sources.items()}
    if recipe.paired:
        counts = {role: side.rows for role, side in sides.items()}
        if len(counts) < 2 or len(set(counts.values())) > 1:
            raise BehaviorError(
                "paired tables need two sides with as many rows: "
                + ", ".join(f"{role} has {count}" for role, count in counts.items()),
                "give tables whose rows belong together, or leave the pairing out",
            )
    duplicates: dict[str, set[int]] = {role: set() for role in sides}
    seen: set[str] = set()
    for role, side in sides.items():
        for place, found in enumerate(side.prompts):
            if found is not None:
                text = normalized(conversation(*found.turns))
                (duplicates[role].add(place) if text in seen else seen.add(text))
    dropped = {role: side.empty | duplicates[role] for role, side in sides.items()}
    if recipe.paired:
        either = set().union(*dropped.values())
        dropped = dict.fromkeys(sides, either)
    needed = sum(recipe.sizes.values())
    lines = []
    for role, side in sides.items():
        kept = [place for place in range(side.rows) if place not in dropped[role]]
        if len(kept) < needed:
            raise BehaviorError(
                f"{side.source}: {len(kept)} {role} prompts are left of {side.rows} rows ({len(side.empty)} empty, "
                f"{len(duplicates[role])} duplicates), {needed} are needed",
                "lower --find, --select or --evaluate, or give more rows",
            )
        # Sides of a pair are shuffled alike, others each for itself.
        random = np.random.default_rng(stable_seed("splits", recipe.seed, "" if recipe.paired else role))
        order = iter(kept[place] for place in random.permutation(len(kept)))
        for split in SPLITS:
            chosen = [side.prompts[next(order)] for _ in range(recipe.sizes.get(split, 0))]
            lines += [_line(found, split, role) for found in chosen if found is not None]
    return lines, {
        role: SideCount(side.source, side.rows, len(side.empty), len(duplicates[role]), needed)
        for role, side in sides.items()
    }


def _read(source: TableSource, folder: Path) -> _Side:
    table = open_table(source, folder)
    rows = choose(table, source)
    prompts: list[Found | None] = []
    for row in rows:
        try:
            prompts.append(prompt_of(table, row, source))
        except EmptyCell:
            prompts.append(None)
    return _Side(table.name, len(rows), {place for place, found in enumerate(prompts) if found is None}, prompts)


def _line(found: Found, split: str, role: str) -> str:
    *earlier, text = found.turns
    history = {"history": list(zip(earlier[::2], earlier[1::2], strict=True))} if earlier else {}
    fields = {name: value for name, value in found.fields.items() if value not in (None, "", ())}
    return json.dumps({**history, "text": text, "split": split, "role": role, **fields}, ensure_ascii=False)


def _definition(recipe: Recipe) -> str:
    sensitive = recipe.outcomes == "refusal" if recipe.sensitive is None else recipe.sensitive
    # Fewer prompts than these make no verdict; half of what is reported on may well be in another state.
    minimum = max(16, recipe.sizes.get("evaluate", 0) // 4)
    description = recipe.description or f"Made of {_described(recipe.positive)}" + (
        f", against {_described(recipe.negative)}." if recipe.negative else "."
    )
    head = {
        "name": recipe.name,
        "description": description,
        "sensitive": sensitive,
        "languages": list(recipe.languages),
        "horizons": list(recipe.horizons),
        "outcomes": recipe.outcomes,
        "minimum_eligible": min(minimum, recipe.sizes.get("evaluate", 0)),
    }
    parts = [_table("", head)]
    parts += [_table(f"oracles.{name}", oracle) for name, oracle in recipe.oracles.items()]
    parts.append(_table("prompts", {"file": f"{recipe.name}.jsonl"}))
    if recipe.paired or recipe.outcomes == "refusal":
        parts.append(_table("perturbation", {"kind": "contrast" if recipe.paired else "swap_characters"}))
    return "\n".join(parts)


def _described(source: TableSource) -> str:
    column = source.column if isinstance(source.column, str) else ", ".join(source.column or ())
    table = Path(source.file).name if source.file else f"data set {source.dataset}"
    return table + (f", column {column}" if column else "")


def _table(name: str, values: Mapping[str, Any]) -> str:
    header = f"[{name}]\n" if name else ""
    return header + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    """A value as TOML writes it; its strings are JSON's, but for one character."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
