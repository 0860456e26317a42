"""The smallest validation of the shipped organism, on a cut of its language behavior."""

from __future__ import annotations

from pathlib import Path

from controlwindow.behaviors import load_behavior
from controlwindow.jobs.law.plan import LawModel, LawPlan, LawSizes
from controlwindow.models import load_model
from controlwindow.runs.plan import BehaviorReference
from cuts import cut_prompts

TOML = """
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
"""

SIZES = LawSizes(calibration=2, held_out=2, screened=0, natural=0, prompts=8, detailed=0, screen="readout", tier="0")
"""Nothing but what the order of events needs; predictions read the generic pass alone."""


def small_behavior(directory: Path) -> Path:
    """The first prompts of every split and role of the shipped behavior, judged after fewer tokens."""
    cut_prompts("language", {"find": 8, "select": 8, "evaluate": 16}, directory / "language.jsonl")
    path = directory / "language.toml"
    path.write_text(TOML, "utf-8")
    return path


def organism_plan(behaviors: dict[str, str], sizes: LawSizes = SIZES) -> LawPlan:
    """A plan of the organism with given behaviors, by name and source."""
    model = load_model("organism:switch")
    entry = LawModel(
        name=model.name,
        source="organism:switch",
        fingerprint=model.fingerprint,
        lineage="switch",
        family=model.family.name,
        width=model.d_model,
        layers=model.layers,
        behaviors=tuple(
            BehaviorReference(name=name, source=source, fingerprint=load_behavior(source).fingerprint)
            for name, source in behaviors.items()
        ),
        directory="switch",
    )
    return LawPlan(sizes=sizes, models=(entry,))
