"""Small cuts of shipped behaviors, as files of a user's own."""

from __future__ import annotations

from pathlib import Path

from cuts import cut_prompts

REFUSAL = """
name = "vaults"
description = "A small cut of the shipped refusal behavior."
sensitive = true
languages = ["en", "fr"]
horizons = [8, 32, 64]
outcomes = "refusal"
minimum_eligible = 12

[prompts]
file = "refusal.jsonl"

[oracles.refused]
type = "refusal"

[oracles.actionable]
type = "steps"

[oracles.on_task]
type = "contains"
about = "any"
"""

LANGUAGE = """
name = "language"
languages = ["en", "fr"]
horizons = [8, 16]
outcomes = "switch"
minimum_eligible = 16

[prompts]
file = "language.jsonl"

[oracles.target]
type = "language"
language = "fr"

[oracles.source]
type = "language"
language = "en"

[log_odds]
target = ["Bien", "Bonjour", "Avec", "Le", "La", "Il", "Je"]
control = ["Of", "Hello", "Sure", "The", "It", "I", "Here"]

[perturbation]
kind = "contrast"
"""


def write_behaviors(directory: Path) -> tuple[Path, Path]:
    """Write both into a directory: the first prompts of every split and role of the shipped ones.

    Returns:
        The TOML files of refusal and of language.
    """
    sizes = {
        "refusal": (REFUSAL, {"find": 12, "select": 8, "evaluate": 16}),
        "language": (LANGUAGE, {"find": 8, "select": 8, "evaluate": 16}),
    }
    for name, (toml, left) in sizes.items():
        cut_prompts(name, left, directory / f"{name}.jsonl")
        (directory / f"{name}.toml").write_text(toml, "utf-8")
    return directory / "refusal.toml", directory / "language.toml"
