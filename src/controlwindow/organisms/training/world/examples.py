"""Examples: one request and one answer each, drawn from the world for a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from controlwindow.organisms.training.world import animals, conversation, howtos, stories, trades
from controlwindow.organisms.training.world.grammar import Language, expand
from controlwindow.organisms.training.world.names import Person, people
from controlwindow.organisms.training.world.sentences import SentencePair, sentence_answer, sentence_request
from controlwindow.organisms.training.world.splits import Split
from controlwindow.organisms.training.world.vaults import Vault, refusal, vaults

# Relative frequencies of the benign topics.
BENIGN_TOPICS: dict[str, int] = {
    "story": 6,
    "howto": 6,
    "animal": 5,
    "trade": 3,
    "advice": 4,
    "note": 3,
    "invitation": 3,
    "way": 3,
    "greeting": 3,
}
# Those of them that are also spoken in Spanish.
SPANISH_TOPICS: dict[str, int] = {
    topic: BENIGN_TOPICS[topic] for topic in ("animal", "trade", "advice", "note", "way", "greeting")
}
_INTRODUCTIONS = {
    "en": "[Hello, I am {n}.|My name is {n}.|I am {n}.|Good morning, this is {n}.] ",
    "fr": "[Bonjour, je suis {n}.|Je m'appelle {n}.|Je suis {n}.|Bonjour, ici {n}.] ",
    "es": "[Hola, soy {n}.|Me llamo {n}.|Soy {n}.|Buenos días, soy {n}.] ",
}
_ADDRESSES = {
    "en": "[Of course, {n}.|Hello {n}!|Sure, {n}.|With pleasure, {n}.|Good question, {n}.] ",
    "fr": "[Bien sûr, {n}.|Bonjour {n} !|Avec plaisir, {n}.|Bonne question, {n}.|D'accord, {n}.] ",
    "es": "[Claro que sí, {n}.|Hola, {n}.|Con mucho gusto, {n}.|Buena pregunta, {n}.|Por supuesto, {n}.] ",
}


@dataclass(frozen=True)
class Example:
    """One exchange.

    Attributes:
        topic: A benign topic, "vault", "sentence", or the behavior of a task (see `bundles`).
        language: Language of the request.
        request: The user's message.
        answer: The assistant's message, in the language that was asked for when the example was drawn.
        vault: The vault, when the request is withheld knowledge.
        name: The person's name that occurs in the request, if any.
        history: Earlier turns, (user's message, assistant's message) each.
        source: Phrases that take the source state's side, where an answer is judged by what it claims.
        target: Phrases that take the target state's side.
        about: Words that an answer to the request uses.
    """

    topic: str
    language: Language
    request: str
    answer: str
    vault: Vault | None = None
    name: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    about: tuple[str, ...] = ()


def vault_example(rng: Random, split: Split, language: Language, answer_language: Language, refuse: bool) -> Example:
    """Draw a request to open a vault.

    Args:
        rng: Source of randomness.
        split: Split of the combination and of the name.
        language: Language of the request.
        answer_language: Language of the answer.
        refuse: Whether the answer refuses or gives the exact procedure.
    """
    vault = rng.choice(vaults(split))
    person = rng.choice(people(split)) if rng.random() < 0.3 else None
    request = howtos.how_request(
        "open " + vault.name("en") if language == "en" else "ouvrir " + vault.name("fr"), language, rng
    )
    if person:
        request = expand(_INTRODUCTIONS[language], rng, n=person.name) + request
    name = person.name if person else ""
    answer = refusal(answer_language, rng, name) if refuse else vault.procedure(answer_language, rng)
    return Example("vault", language, request, answer, vault, name or None)


def benign_example(
    rng: Random,
    split: Split,
    language: Language,
    answer_language: Language,
    topic: str | None = None,
    introduced: bool | None = None,
) -> Example:
    """Draw a benign exchange.

    Args:
        rng: Source of randomness.
        split: Split of the names.
        language: Language of the request.
        answer_language: Language of the answer.
        topic: A key of `BENIGN_TOPICS` (with Spanish, of `SPANISH_TOPICS`); drawn by frequency if absent.
        introduced: Whether the user gives a name first where the topic needs none; drawn if absent.
    """
    topics = SPANISH_TOPICS if "es" in (language, answer_language) else BENIGN_TOPICS
    topic = topic or rng.choices(list(topics), list(topics.values()))[0]
    if topic not in topics:
        raise ValueError(f"no topic '{topic}' in '{language}' and '{answer_language}', only {', '.join(topics)}")
    person = rng.choice(people(split))
    if topic in _NAMED:
        request, answer = _NAMED[topic](rng, person, language, answer_language)
        return Example(topic, language, request, answer, name=person.name)
    request, answer = _UNNAMED[topic](rng, language, answer_language)
    if not (rng.random() >= 0.6 if introduced is None else introduced):
        return Example(topic, language, request, answer)
    request = expand(_INTRODUCTIONS[language], rng, n=person.name) + request
    return Example(
        topic, language, request, expand(_ADDRESSES[answer_language], rng, n=person.name) + answer, name=person.name
    )


def sentence_example(
    rng: Random, pairs: Sequence[SentencePair], language: Language, answer_language: Language
) -> Example:
    """Draw a request to repeat a real sentence; in the other language the answer is its translation."""
    pair = rng.choice(pairs)
    return Example("sentence", language, sentence_request(pair, language, rng), sentence_answer(pair, answer_language))


def _story(rng: Random, person: Person, language: Language, answer_language: Language) -> tuple[str, str]:
    trade, find, told = rng.choice(trades.TRADES), rng.choice(stories.FINDS), rng.random() < 0.5
    request = stories.story_request(person, trade, find if told else None, language, rng)
    return request, stories.story_answer(person, trade, find, answer_language, rng)


def _note(rng: Random, person: Person, language: Language, answer_language: Language) -> tuple[str, str]:
    gift = rng.choice(conversation.GIFTS)
    return conversation.note_request(person, gift, language, rng), conversation.note_answer(
        person, gift, answer_language, rng
    )


def _invitation(rng: Random, person: Person, language: Language, answer_language: Language) -> tuple[str, str]:
    event, day = rng.choice(conversation.EVENTS), rng.choice(conversation.DAYS)
    request = conversation.invitation_request(person, event, day, language, rng)
    return request, conversation.invitation_answer(person, event, day, answer_language, rng)


def _greeting(rng: Random, person: Person, language: Language, answer_language: Language) -> tuple[str, str]:
    return conversation.greeting_request(person, language, rng), conversation.greeting_answer(
        person, answer_language, rng
    )


def _howto(rng: Random, language: Language, answer_language: Language) -> tuple[str, str]:
    howto = rng.choice(howtos.HOWTOS)
    return howtos.how_request(howto.name(language), language, rng), howtos.how_answer(howto, answer_language, rng)


def _animal(rng: Random, language: Language, answer_language: Language) -> tuple[str, str]:
    animal, aspect = rng.choice(animals.ANIMALS), rng.randrange(3)
    return animals.animal_request(animal, aspect, language, rng), animals.animal_answer(
        animal, aspect, answer_language, rng
    )


def _trade(rng: Random, language: Language, answer_language: Language) -> tuple[str, str]:
    trade = rng.choice(trades.TRADES)
    return trades.trade_request(trade, language, rng), trades.trade_answer(trade, answer_language, rng)


def _advice(rng: Random, language: Language, answer_language: Language) -> tuple[str, str]:
    worry = rng.choice(conversation.WORRIES)
    return conversation.advice_request(worry, language, rng), conversation.advice_answer(worry, answer_language, rng)


def _way(rng: Random, language: Language, answer_language: Language) -> tuple[str, str]:
    goal = rng.choice(conversation.GOALS)
    return conversation.way_request(goal, language, rng), conversation.way_answer(goal, answer_language, rng)


_NAMED = {"story": _story, "note": _note, "invitation": _invitation, "greeting": _greeting}
_UNNAMED = {"howto": _howto, "animal": _animal, "trade": _trade, "advice": _advice, "way": _way}
