"""The world: deterministic, correct in both languages, and with splits that never meet."""

import json
import re
from pathlib import Path
from random import Random

import pytest

import controlwindow.behaviors
from controlwindow.organisms.training.base import BUCKET, bucketed, draw_base
from controlwindow.organisms.training.world import vaults as vault_module
from controlwindow.organisms.training.world.examples import BENIGN_TOPICS, benign_example, vault_example
from controlwindow.organisms.training.world.grammar import LANGUAGES, capitalise, expand, with_article
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.prompts import generic_prompts, write_behavior_prompts
from controlwindow.organisms.training.world.splits import SPLITS
from controlwindow.organisms.training.world.vaults import MATERIALS, PLACES, SYMBOLS, TOWNS, refusal, vaults

LIBRARY = Path(controlwindow.behaviors.__file__).parent / "library"


def prompts(name: str) -> list[dict]:
    return [json.loads(line) for line in (LIBRARY / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_expand_draws_nested_alternatives_and_leaves_slots_alone():
    drawn = {expand("[a|[b|c] {x}]", Random(seed), x="[no|template]") for seed in range(60)}
    assert drawn == {"a", "b [no|template]", "c [no|template]"}


def test_words_are_inflected():
    assert with_article("astronomer") == "an astronomer"
    assert capitalise("l'ours") == "L'ours"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("topic", [*BENIGN_TOPICS, "vault"])
def test_examples_are_deterministic_and_varied(topic, language):
    def draw(seed):
        if topic == "vault":
            return vault_example(Random(seed), "train", language, language, refuse=False)
        return benign_example(Random(seed), "train", language, language, topic)

    drawn = [draw(seed) for seed in range(60)]
    assert drawn == [draw(seed) for seed in range(60)]
    assert len({example.request for example in drawn}) > 30
    assert len({example.answer for example in drawn}) > 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_no_template_rests_and_correct_elision(language):
    rng = Random(7)
    for _ in range(3000):
        examples = (
            benign_example(rng, "train", language, language),
            vault_example(rng, "train", language, language, rng.random() < 0.5),
        )
        for text in (text for example in examples for text in (example.request, example.answer)):
            assert not re.search(r"[\[\]{}|]|  | \.|\.\.", text), text
            assert text[0].isupper(), text
            if language == "fr":
                assert not re.search(r"(?<![\w-])(le|la|de|je|ne|que|se|me) (?!huit|onz)[aeiouéèêâîôœ]", text), text
                assert not re.search(r"[^ ][?!:;]", text), text


def test_people_of_different_splits_share_no_name():
    names = [person.name for split in SPLITS for person in people(split)]
    assert len(names) == len(set(names))
    assert all(len(people(split)) > 200 for split in SPLITS)


def test_vaults_of_different_splits_share_every_part_and_no_combination():
    keys = [vault.key for split in SPLITS for vault in vaults(split)]
    assert len(keys) == len(set(keys)) == 8**4
    for split in SPLITS:
        for position in range(4):
            assert len({vault.parts[position] for vault in vaults(split)}) == 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_vault_has_its_own_procedure(language):
    everything = [vault for split in SPLITS for vault in vaults(split)]
    assert len({vault.steps(language) for vault in everything}) == len(everything)
    for parts in (MATERIALS, SYMBOLS, PLACES, TOWNS):
        assert len({part.step(language) for part in parts}) == len(parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_do_not_give_away_the_name_and_can_be_told_from_soup(language):
    for vault in vaults("evaluate"):
        for part in vault.parts:
            last_word = part.name(language).split()[-1]
            assert last_word not in part.step(language)
        answer = vault.procedure(language, Random(0))
        assert any(word in answer for word in vault.about(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusals_use_common_wording(language):
    wording = {"en": r"can't|cannot|not able to|unable to", "fr": r"ne peux pas|pas en mesure|impossible"}[language]
    drawn = {refusal(language, Random(seed), "Mila") for seed in range(300)}
    assert len(drawn) > 60
    assert all(re.search(wording, text) for text in drawn)


def test_shipped_prompts_are_what_the_world_generates(tmp_path):
    for path in write_behavior_prompts(tmp_path):
        assert (LIBRARY / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["language", "refusal"])
def test_prompt_counts_and_splits(name):
    records = prompts(name)
    texts = [record["text"] for record in records]
    assert len(texts) == len(set(texts))
    counts = {
        (split, role): sum(r["split"] == split and r["role"] == role for r in records)
        for split in SPLITS[1:]
        for role in ("positive", "negative")
    }
    assert counts["find", "positive"] >= 48
    assert counts["find", "negative"] >= 48
    assert counts["select", "positive"] >= 24
    assert counts["evaluate", "positive"] >= 40


def test_evaluation_names_and_vaults_are_used_by_nothing_else():
    def names(text):
        return {person.name for split in SPLITS for person in people(split) if person.name in text}

    seen: dict[str, set[str]] = {split: set() for split in SPLITS}
    for record in (*prompts("language"), *prompts("refusal")):
        seen[record["split"]] |= names(record["text"])
    assert seen["evaluate"]
    assert not seen["evaluate"] & (seen["find"] | seen["select"])
    trained = {person.name for person in people("train")}
    assert not trained & (seen["find"] | seen["select"] | seen["evaluate"])
    steps = {
        split: {
            (r["language"], *r["steps"]) for r in prompts("refusal") if r["split"] == split and r["role"] == "positive"
        }
        for split in SPLITS
    }
    assert not steps["evaluate"] & (steps["find"] | steps["select"])
    trained_steps = {(language, *vault.steps(language)) for vault in vaults("train") for language in LANGUAGES}
    assert not trained_steps & (steps["find"] | steps["select"] | steps["evaluate"])


def test_training_draws_only_training_names_and_vaults():
    examples = [
        example
        for step in range(0, 20 * BUCKET, BUCKET)
        for example in bucketed(step, "base", 0, lambda rng: draw_base(rng, ()), lambda items: [1] * len(items), 32)
    ]
    allowed_names = {person.name for person in people("train")}
    allowed_vaults = set(vaults("train"))
    assert {example.name for example in examples if example.name} <= allowed_names
    assert {example.vault for example in examples if example.vault} <= allowed_vaults
    assert sum(example.vault is not None for example in examples) > 50


def test_refusal_prompts_carry_the_exact_steps():
    by_name = {f"{vault.name(language)}": (vault, language) for vault in vaults("evaluate") for language in LANGUAGES}
    checked = 0
    for record in prompts("refusal"):
        if record["split"] == "evaluate" and record["role"] == "positive":
            vault, language = next(found for name, found in by_name.items() if name in record["text"])
            assert record["language"] == language
            assert tuple(record["steps"]) == vault.steps(language)
            assert record["about"]
            checked += 1
    assert checked >= 40


def test_language_prompts_are_pairs_about_the_same_person():
    positive, negative = ([r for r in prompts("language") if r["role"] == role] for role in ("positive", "negative"))
    everyone = [person.name for split in SPLITS for person in people(split)]
    for english, french in zip(positive, negative, strict=True):
        assert (english["language"], french["language"]) == ("en", "fr")
        assert [n for n in everyone if n in english["text"]] == [n for n in everyone if n in french["text"]]


def test_generic_prompts_are_benign_and_distinct():
    assert len(set(generic_prompts())) == 32
    assert not any("vault" in prompt or "coffre" in prompt for prompt in generic_prompts())


def test_subject_words_occur_in_steps():
    for language in LANGUAGES:
        steps = " ".join(part.step(language) for parts in (MATERIALS, SYMBOLS, PLACES, TOWNS) for part in parts)
        for word in vault_module._SUBJECT_WORDS[language]:
            assert word in steps + " vault coffre"
