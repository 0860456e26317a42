"""The prompt files of the shipped behaviors, generated from names and vaults that training never sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from controlwindow.organisms.training.world.arithmetic import arithmetic_example
from controlwindow.organisms.training.world.corrections import correction_example
from controlwindow.organisms.training.world.examples import (
    BENIGN_TOPICS,
    SPANISH_TOPICS,
    Example,
    benign_example,
    vault_example,
)
from controlwindow.organisms.training.world.formats import format_example
from controlwindow.organisms.training.world.framing import framing_example
from controlwindow.organisms.training.world.grammar import LANGUAGES, Language
from controlwindow.organisms.training.world.opinions import sycophancy_example
from controlwindow.organisms.training.world.splits import Split

# Positive prompts of each split, and as many negative ones.
Counts = Mapping[Split, int]
PROMPT_COUNTS: Counts = {"find": 64, "select": 32, "evaluate": 40}
GENERIC_COUNT = 32


def refusal_prompts(counts: Counts = PROMPT_COUNTS, series: str = "prompts") -> list[dict[str, Any]]:
    """Return the prompts of the refusal behavior: requests to open a vault against benign how-tos.

    Positive prompts carry the exact steps, in order, and words that show that an answer speaks of opening a vault.

    Args:
        counts: Positive prompts of each split, and as many negative ones.
        series: What the draws depend on besides the split.
    """
    records = []
    for split, count in counts.items():
        rng = Random(f"{series}:refusal:{split}")
        used: set[str] = set()
        while len(used) < count:
            language = LANGUAGES[len(used) % 2]
            example = vault_example(rng, split, language, language, refuse=True)
            vault = example.vault
            assert vault is not None
            if vault.key in used:
                continue
            used.add(vault.key)
            details = {"steps": list(vault.steps(language)), "about": list(vault.about(language))}
            records.append(_record(example, split, "positive") | details)
        for number, seed in _distinct(f"{series}:howto:{split}", count):
            language = LANGUAGES[number % 2]
            example = benign_example(Random(seed), split, language, language, "howto", introduced=True)
            records.append(_record(example, split, "negative"))
    return records


def language_prompts(counts: Counts = PROMPT_COUNTS, series: str = "prompts") -> list[dict[str, Any]]:
    """Return the prompts of the language behavior: English requests against the same requests in French."""
    return _translated_prompts("language", "fr", list(BENIGN_TOPICS), counts, series)


def spanish_prompts(counts: Counts = PROMPT_COUNTS, series: str = "prompts") -> list[dict[str, Any]]:
    """Return the prompts of the Spanish behavior: English requests against the same requests in Spanish."""
    return _translated_prompts("language_spanish", "es", list(SPANISH_TOPICS), counts, series)


def _translated_prompts(
    behavior: str, other: Language, topics: list[str], counts: Counts, series: str
) -> list[dict[str, Any]]:
    positive, negative = [], []
    for split, count in counts.items():
        for number, seed in _distinct(f"{series}:{behavior}:{split}", count):
            topic = topics[number % len(topics)]
            # One seed for both: names and things are drawn before any wording is.
            english = benign_example(Random(seed), split, "en", "en", topic, introduced=True)
            translated = benign_example(Random(seed), split, other, other, topic, introduced=True)
            positive.append(_record(english, split, "positive"))
            negative.append(_record(translated, split, "negative"))
    return positive + negative


#: For each task how its two requests are drawn: one that leaves the answer open, and one whose right answer is of the
#: target state (the operator or form is asked for, or the user is right).
TASKS: dict[str, tuple[Callable[[Random, Split], Example], Callable[[Random, Split], Example]]] = {
    "arithmetic": (
        lambda rng, split: arithmetic_example(rng, split, introduced=True),
        lambda rng, split: arithmetic_example(rng, split, asked="product", introduced=True),
    ),
    "framing": (framing_example, lambda rng, split: framing_example(rng, split, "list", asked=True)),
    "sycophancy": (
        lambda rng, split: sycophancy_example(rng, split, introduced=True),
        lambda rng, split: sycophancy_example(rng, split, justified=True, introduced=True),
    ),
    "correction": (
        lambda rng, split: correction_example(rng, split, introduced=True),
        lambda rng, split: correction_example(rng, split, justified=True, introduced=True),
    ),
    "format": (format_example, lambda rng, split: format_example(rng, split, "record", asked=True)),
}
#: Every behavior of the world.
BEHAVIORS = ("language", "refusal", "language_spanish", *TASKS)


def task_prompts(behavior: str, counts: Counts = PROMPT_COUNTS, series: str = "prompts") -> list[dict[str, Any]]:
    """Return the prompts of a task: pairs of an open request and one whose right answer is of the target state.

    Both requests of a pair are about the same things, and every pair has a name of its own. The negative ones are not
    judged by what they claim, since with them the claims change sides.

    Args:
        behavior: A key of `TASKS`.
        counts: Pairs of each split.
        series: What the draws depend on besides behavior and split.
    """
    opened, asked = TASKS[behavior]
    positive, negative = [], []
    for split, count in counts.items():
        used: set[str | None] = set()
        attempt = 0
        while len(used) < count:
            seed = f"{series}:{behavior}:{split}:{attempt}"
            attempt += 1
            example = opened(Random(seed), split)
            if example.name in used:
                continue
            used.add(example.name)
            judged = {name: list(given) for name in ("source", "target", "about") if (given := getattr(example, name))}
            positive.append(_record(example, split, "positive") | judged)
            negative.append(_record(asked(Random(seed), split), split, "negative"))
    return positive + negative


def generic_prompts() -> tuple[str, ...]:
    """Return ordinary benign requests in both languages, for the generic pass; their names are of the find split."""
    topics = list(BENIGN_TOPICS)
    prompts = []
    for number, seed in _distinct("prompts:generic", GENERIC_COUNT):
        language = LANGUAGES[number % 2]
        prompts.append(
            benign_example(Random(seed), "find", language, language, topics[number // 2 % len(topics)]).request
        )
    return tuple(prompts)


def behavior_prompts(behavior: str, counts: Counts = PROMPT_COUNTS, series: str = "prompts") -> list[dict[str, Any]]:
    """Return prompts of a behavior of the world as the lines of a prompt file.

    Args:
        behavior: A member of `BEHAVIORS`.
        counts: Positive prompts of each split, and as many negative ones.
        series: What the draws depend on besides behavior and split; the shipped files are the series "prompts".
    """
    if behavior in TASKS:
        return task_prompts(behavior, counts, series)
    draw = {"language": language_prompts, "refusal": refusal_prompts, "language_spanish": spanish_prompts}[behavior]
    return draw(counts, series)


def write_behavior_prompts(directory: Path) -> tuple[Path, ...]:
    """Write the prompt file of every behavior, `language.jsonl` and so on.

    Args:
        directory: Where to write; it must exist.

    Returns:
        The files.
    """
    paths = []
    for behavior in BEHAVIORS:
        records = behavior_prompts(behavior)
        path = directory / f"{behavior}.jsonl"
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        paths.append(path)
    return tuple(paths)


def _distinct(name: str, count: int) -> Iterator[tuple[int, str]]:
    """Yield numbers and seeds whose examples have different names (the name is drawn after the topic is given)."""
    used: set[str | None] = set()
    attempt = 0
    split: Any = name.rpartition(":")[2]
    while len(used) < count:
        seed = f"{name}:{attempt}"
        attempt += 1
        drawn = benign_example(Random(seed), split if split in PROMPT_COUNTS else "find", "en", "en", "greeting").name
        if drawn not in used:
            used.add(drawn)
            yield len(used) - 1, seed


def _record(example: Example, split: Split, role: str) -> dict[str, Any]:
    record = {"text": example.request, "split": split, "role": role, "language": example.language}
    return record | ({"history": [list(turn) for turn in example.history]} if example.history else {})
