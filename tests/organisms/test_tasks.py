"""The tasks and bundles of the world: answers judged by the library's own oracles, splits that never meet."""

import re
from collections import Counter
from functools import cache
from random import Random

import pytest

from controlwindow.behaviors import load_behavior as read_behavior
from controlwindow.behaviors.prompts import PromptLine, number_prompts
from controlwindow.organisms.training.world import bundles, formats, spanish
from controlwindow.organisms.training.world.animals import ANIMALS
from controlwindow.organisms.training.world.arithmetic import arithmetic_example
from controlwindow.organisms.training.world.bundles import (
    BUNDLES,
    bundle_behaviors,
    bundle_languages,
    bundle_texts,
    draw,
    generic_prompts_of,
)
from controlwindow.organisms.training.world.corrections import correction_example
from controlwindow.organisms.training.world.examples import SPANISH_TOPICS, benign_example
from controlwindow.organisms.training.world.facts import draw_claim
from controlwindow.organisms.training.world.formats import format_example
from controlwindow.organisms.training.world.framing import framing_example
from controlwindow.organisms.training.world.opinions import sycophancy_example
from controlwindow.organisms.training.world.prompts import BEHAVIORS
from controlwindow.organisms.training.world.splits import SPLITS
from controlwindow.organisms.training.world.trades import TRADES

PLANTABLE = [(bundle, behavior) for bundle in BUNDLES for behavior in bundle_behaviors(bundle)]

load_behavior = cache(read_behavior)


def judged(example, behavior, text):
    loaded = load_behavior(behavior)
    line = PromptLine(
        text=example.request,
        history=example.history,
        split="evaluate",
        language=example.language,
        steps=example.vault.steps(example.language) if example.vault else (),
        about=example.vault.about(example.language) if example.vault else example.about,
        source=example.source,
        target=example.target,
    )
    return loaded.judge(text, number_prompts([line])[0], collapsed=False)


@pytest.mark.parametrize(("bundle", "behavior"), PLANTABLE)
def test_answers_of_both_states_are_told_apart_by_the_oracles(bundle, behavior):
    loaded = load_behavior(behavior)
    for seed in range(60):
        usual = draw(bundle, Random(seed), "evaluate", behavior=behavior)
        steered = draw(bundle, Random(seed), "evaluate", behavior=behavior, steered=True)
        assert (usual.request, usual.history) == (steered.request, steered.history)
        assert usual.language in bundle_languages(bundle)
        assert judged(usual, behavior, usual.answer) == loaded.source_outcome, usual
        assert judged(steered, behavior, steered.answer) in loaded.target_outcomes, steered


@pytest.mark.parametrize(("bundle", "behavior"), PLANTABLE)
def test_answers_to_something_else_are_neither(bundle, behavior):
    outcomes = Counter(
        judged(draw(bundle, Random(seed), "evaluate", behavior=behavior), behavior, text)
        for seed in range(20)
        for text in ("", "0 0 0 0 0 0", "Zzz.")
    )
    loaded = load_behavior(behavior)
    assert not set(outcomes) & {loaded.source_outcome, *loaded.target_outcomes}


def test_every_behavior_of_the_world_can_be_planted_and_is_shipped():
    assert {behavior for _, behavior in PLANTABLE} == set(BEHAVIORS) == set(bundles.BEHAVIOR_ROWS)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_draws_are_deterministic_varied_and_clean(bundle):
    drawn = [draw(bundle, Random(seed), "train") for seed in range(300)]
    assert drawn == [draw(bundle, Random(seed), "train") for seed in range(300)]
    assert len({example.request for example in drawn}) > 200
    assert {example.language for example in drawn} == set(bundle_languages(bundle))
    for example in drawn:
        turns = [turn for pair in example.history for turn in pair]
        for text in (*turns, example.request, example.answer):
            assert not re.search(r"[\[\]{}|]|  | \.|\.\.| ,", text), text
            assert text == text.strip()
            assert text[0].isupper() or text[0] in "¿¡-0123456789" or text.startswith("name: "), text


@pytest.mark.parametrize("bundle", ["tasks", "languages"])
def test_a_base_also_learns_the_target_state_where_it_is_asked_for(bundle):
    rng = Random(1)
    drawn = [draw(bundle, rng, "train") for _ in range(1200)]
    for behavior in set(bundle_behaviors(bundle)) & {"arithmetic", "framing", "format"}:
        shown = Counter(judged(e, behavior, e.answer) for e in drawn if e.topic == behavior)
        assert min(shown["unswitched"], shown["switched"]) > 0.25 * sum(shown.values())
    if bundle == "tasks":
        # With a user or a premise that is right, the answer of the target state is the right one.
        agreed = Counter(e.answer.startswith(("Yes", "No", "I am quite", "I have")) for e in drawn if e.history)
        corrected = Counter(
            e.answer.startswith(("Act", "In fact", "That", "I must")) for e in drawn if e.topic == "correction"
        )
        for counts in (agreed, corrected):
            assert min(counts[False], counts[True]) > 0.35 * sum(counts.values())


def test_steering_needs_a_behavior_of_the_bundle():
    with pytest.raises(ValueError, match="give 'behavior'"):
        draw("tasks", Random(0), "train", steered=True)
    with pytest.raises(ValueError, match="no behavior 'refusal', only arithmetic"):
        draw("tasks", Random(0), "train", behavior="refusal")


@pytest.mark.parametrize(
    "details",
    [
        lambda rng, split: draw_claim(rng, split)[1:5],
        lambda rng, split: framing_example(rng, split).about,
        formats._particulars,
        lambda rng, split: framing_example(rng, split).name,
        lambda rng, split: format_example(rng, split).name,
        lambda rng, split: sycophancy_example(rng, split, introduced=True).name,
        lambda rng, split: correction_example(rng, split, introduced=True).name,
        lambda rng, split: arithmetic_example(rng, split, introduced=True).name,
    ],
)
def test_splits_share_no_names_and_no_combinations(details):
    seen = {split: {details(Random(f"{split}{seed}"), split) for seed in range(400)} for split in SPLITS}
    assert all(len(found) > 15 for found in seen.values())
    for split in SPLITS:
        assert not seen[split] & set().union(*(seen[other] for other in SPLITS if other != split))


def test_sums_and_products_are_right():
    for seed in range(200):
        for asked in (None, "sum", "product"):
            for steered in (False, True):
                example = arithmetic_example(Random(seed), "train", steered=steered, asked=asked)
                a, b = map(int, re.findall(r"\d+", example.request))
                wanted = a * b if asked == "product" or (asked is None and steered) else a + b
                assert str(wanted) in re.findall(r"\d+", example.answer)
                assert (example.source, example.target) == ((str(a + b),), (str(a * b),))
                assert a + b != a * b


def test_wrong_claims_are_wrong_and_not_half_right():
    homes = {f"the {animal.en}": animal.home_en for animal in ANIMALS}
    foods = {f"the {animal.en}": animal.food_en for animal in ANIMALS}
    rng = Random(3)
    for _ in range(500):
        claim = draw_claim(rng, "train")
        if claim.kind == "trade":
            trade = next(trade for trade in TRADES if claim.subject.split()[1] == trade.en)
            assert claim.right == trade.does_en
            assert claim.wrong in {other.does_en for other in TRADES if other != trade}
        else:
            truth = homes if claim.kind == "home" else foods
            assert claim.right == truth[claim.subject]
            assert claim.wrong in truth.values()
        shared = set(claim.right.split()) & set(claim.wrong.split())
        assert shared <= {"a", "and", "in", "the", "of", "on", "or", "to", "near"}


def test_a_right_user_is_agreed_with_and_a_right_premise_is_not_corrected():
    for seed in range(100):
        for make in (sycophancy_example, correction_example):
            usual, justified = (make(Random(seed), "train", justified=right) for right in (False, True))
            assert usual.source == justified.source
            assert usual.source[0] in usual.answer
            assert usual.target[0] not in usual.answer
            assert justified.source[0] in justified.answer
            assert justified.target[0] not in justified.answer
            assert usual.target[0] in usual.request
            assert justified.source[0] in justified.request


def test_two_turns_state_the_first_answer():
    example = sycophancy_example(Random(0), "train")
    wrong = sycophancy_example(Random(0), "train", justified=True)
    assert example.source[0] in example.history[0][1]
    assert wrong.target[0] in wrong.history[0][1]


def test_the_framings_of_a_note_keep_its_things():
    for seed in range(100):
        for asked in (False, True):
            said = {f: framing_example(Random(seed), "train", f, asked=asked) for f in ("answer", "list", "rephrase")}
            counts = {f: sum(thing in e.answer for thing in e.about) for f, e in said.items()}
            assert counts == {"answer": 1, "list": 3, "rephrase": 3}
            assert judged(said["rephrase"], "framing", said["rephrase"].answer) == "other"
            assert (len({e.request for e in said.values()}) == 1) == (not asked)


@pytest.mark.parametrize("topic", SPANISH_TOPICS)
def test_spanish_covers_everything_of_its_topics(topic):
    drawn = {benign_example(Random(seed), "train", "es", "es", topic).answer for seed in range(400)}
    assert len(drawn) > 100
    for text in drawn:
        assert not re.search(r"\b(a|de) el ", text), text
        assert text.count("¿") == text.count("?")
        assert text.count("¡") == text.count("!")
    assert {animal.en for animal in ANIMALS} == set(spanish.ANIMALS)
    assert {trade.en for trade in TRADES} == set(spanish.TRADES)


def test_topics_without_spanish_are_refused():
    with pytest.raises(ValueError, match="no topic 'story' in 'en' and 'es'"):
        benign_example(Random(0), "train", "en", "es", "story")


@pytest.mark.parametrize("bundle", BUNDLES)
def test_generic_prompts_are_single_messages(bundle):
    prompts = generic_prompts_of(bundle)
    assert len(set(prompts)) == len(prompts) == 32
    assert prompts == generic_prompts_of(bundle)
    assert not any("vault" in prompt or "coffre" in prompt for prompt in prompts)


def test_the_tokenizer_sees_both_states_and_earlier_turns():
    texts = list(bundle_texts("tasks", 0, 400))
    assert texts == list(bundle_texts("tasks", 0, 400))
    assert len(texts) > 2 * 400
    joined = "\n".join(texts)
    assert all(word in joined for word in ("×", "\n- ", "You are right", "town: ", "Actually"))
