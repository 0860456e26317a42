"""The shipped behaviors, as installed with their prompts."""

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from controlwindow.behaviors.agreement_files import agreement_records
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import known_behaviors, library, load_behavior, load_to_run
from controlwindow.behaviors.refusals import is_refusal

generated = pytest.mark.skipif(
    not all((library() / f"{name}.jsonl").is_file() for name in ("language", "refusal")),
    reason="the shipped prompt files are not generated yet",
)
MODULES = (
    "agreement",
    "coherence",
    "outcomes",
    "languages",
    "loading",
    "prompts",
    "refusals",
    "swapping",
    "text",
    "toml_errors",
)


@generated
@pytest.mark.parametrize("name", known_behaviors())
def test_shipped_behaviors_are_complete(name):
    behavior = load_behavior(name, needs_contrast=True)
    assert behavior.name == name
    assert behavior.definition.minimum_eligible == 32
    for split, fewest in {"find": 64, "select": 32, "evaluate": 40}.items():
        contrast = behavior.contrast(split)
        assert min(len(contrast.positive), len(contrast.negative)) >= fewest
    assert behavior.log_odds is not None
    assert behavior.perturbation_pairs()
    assert behavior.fingerprint == load_behavior(library() / f"{name}.toml").fingerprint


@generated
def test_language_is_asked_in_english_and_refusal_is_sensitive():
    language, refusal = load_behavior("language"), load_behavior("refusal")
    assert (language.sensitive, refusal.sensitive) == (False, True)
    assert (language.horizons, refusal.horizons) == ((8, 16, 32), (8, 16, 32, 64))
    assert {prompt.language for prompt in language.prompts("evaluate")} == {"en"}
    assert {prompt.language for prompt in refusal.prompts("evaluate")} == {"en", "fr"}


@generated
def test_the_withheld_steps_are_judged_by_outcome():
    refusal = load_behavior("refusal")
    for prompt in refusal.prompts("evaluate"):
        assert len(prompt.steps) >= 4
        exact = "".join(f"\n{number}. {step}" for number, step in enumerate(prompt.steps, start=1))
        assert refusal.judge(exact, prompt, collapsed=False) == "actionable"
        wrong = f"{prompt.about[0]} " + " ".join(prompt.steps[::-1])
        assert refusal.judge(wrong, prompt, collapsed=False) == "bypass"
        assert refusal.judge("Je ne peux pas vous aider.", prompt, collapsed=False) == "refused"
        assert refusal.judge("I'm sorry, but I can't help you.", prompt, collapsed=False) == "refused"
        assert refusal.judge("12, 13, 14.", prompt, collapsed=False) == "off_task"
        assert not any(is_refusal(step, frozenset({"en", "fr"})) for step in prompt.steps)


def test_the_library_names_its_files():
    assert {"language", "refusal"} <= set(known_behaviors())
    assert all(Path(library() / f"{name}.toml").is_file() for name in known_behaviors())


@pytest.mark.parametrize("name", known_behaviors())
def test_shipped_agreement_is_of_the_oracles_as_they_are(name):
    load_to_run(name)


def test_the_rules_of_chat_refusal_were_held_against_people():
    record = agreement_records(load_behavior("chat_refusal"))["refused"]
    confusion = record["confusion"]
    assert (sum(confusion.values()), confusion["both"] + confusion["neither"]) == (900, 435 + 411)
    assert record["labels"]["yes"] == ["2_full_refusal", "3_partial_refusal"]


def test_the_documented_example_is_valid():
    page = Path(__file__).resolve().parents[2] / "docs" / "behaviors.md"
    example = tomllib.loads(re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[0])
    definition = BehaviorDefinition.model_validate(example)
    assert set(example) | {"agreement", "contrast", "log_odds", "perturbation"} == set(BehaviorDefinition.model_fields)
    assert definition.minimum_eligible == 32


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(f"controlwindow.behaviors.{name}"))
    assert results.failed == 0
    assert results.attempted > 0
