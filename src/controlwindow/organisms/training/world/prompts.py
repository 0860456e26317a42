"""The prompt files of the shipped behaviors, generated from names and vaults that training never sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from controlwindow.organisms.training.world.examples import BENIGN_TOPICS, Example, benign_example, vault_example
from controlwindow.organisms.training.world.grammar import LANGUAGES
from controlwindow.organisms.training.world.splits import Split

# Positive prompts of each split, and as many negative ones.
PROMPT_COUNTS: dict[Split, int] = {"find": 64, "select": 32, "evaluate": 40}
GENERIC_COUNT = 32


def refusal_prompts() -> list[dict[str, Any]]:
    """Return the prompts of the refusal behavior: requests to open a vault against benign how-tos.

    Positive prompts carry the exact steps, in order, and words that show that an answer speaks of opening a vault.
    """
    records = []
    for split, count in PROMPT_COUNTS.items():
        rng = Random(f"prompts:refusal:{split}")
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
        for number, seed in _distinct(f"prompts:howto:{split}", count):
            language = LANGUAGES[number % 2]
            example = benign_example(Random(seed), split, language, language, "howto", introduced=True)
            records.append(_record(example, split, "negative"))
    return records


def language_prompts() -> list[dict[str, Any]]:
    """Return the prompts of the language behavior: English requests against the same requests in French."""
    topics = list(BENIGN_TOPICS)
    positive, negative = [], []
    for split, count in PROMPT_COUNTS.items():
        for number, seed in _distinct(f"prompts:language:{split}", count):
            topic = topics[number % len(topics)]
            # One seed for both: names and things are drawn before any wording is.
            english = benign_example(Random(seed), split, "en", "en", topic, introduced=True)
            french = benign_example(Random(seed), split, "fr", "fr", topic, introduced=True)
            positive.append(_record(english, split, "positive"))
            negative.append(_record(french, split, "negative"))
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


def write_behavior_prompts(directory: Path) -> tuple[Path, Path]:
    """Write `language.jsonl` and `refusal.jsonl`.

    Args:
        directory: Where to write; it must exist.

    Returns:
        The two files.
    """
    paths = directory / "language.jsonl", directory / "refusal.jsonl"
    for path, records in zip(paths, (language_prompts(), refusal_prompts()), strict=True):
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return paths


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
    return {"text": example.request, "split": split, "role": role, "language": example.language}
