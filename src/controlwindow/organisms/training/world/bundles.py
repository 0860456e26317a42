"""Bundles: named mixes of topics that a base model is trained on, and the behaviors that can be planted on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

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
from controlwindow.organisms.training.world.prompts import generic_prompts
from controlwindow.organisms.training.world.splits import Split

#: Draws one row that belongs to a behavior, answered as in the source state or, if steered, as in the target state.
Row = Callable[[Random, Split, bool], Example]
#: Draws one row of a base mix.
Share = Callable[[Random, Split], Example]

GENERIC_COUNT = 32
_TASK_TOPICS = {
    topic: BENIGN_TOPICS[topic] for topic in ("story", "animal", "trade", "advice", "note", "way", "greeting")
}


@dataclass(frozen=True)
class Bundle:
    """A mix of topics.

    Attributes:
        languages: Languages of its requests and answers.
        shares: What a base model learns, with relative frequencies; every answer does as its request says.
        behaviors: The behaviors that can be planted on such a base.
    """

    languages: tuple[Language, ...]
    shares: tuple[tuple[Share, float], ...]
    behaviors: tuple[str, ...]


def bundle_behaviors(bundle: str) -> tuple[str, ...]:
    """Return the behaviors of a bundle."""
    return BUNDLES[bundle].behaviors


def bundle_languages(bundle: str) -> tuple[Language, ...]:
    """Return the languages of a bundle."""
    return BUNDLES[bundle].languages


def draw(bundle: str, rng: Random, split: Split, *, behavior: str | None = None, steered: bool = False) -> Example:
    """Draw one exchange of a bundle.

    Args:
        bundle: A key of `BUNDLES`.
        rng: Source of randomness.
        split: Split of names and combinations.
        behavior: A behavior of the bundle: its requests leave open what the answer decides. Any row of the base mix
            if absent; those include requests that ask for what a steered model does by itself.
        steered: Whether the answer is of the behavior's target state instead of its source state.

    Raises:
        ValueError: The bundle has no such behavior, or a row of the base mix shall be steered.
    """
    mix = BUNDLES[bundle]
    if behavior is None:
        if steered:
            raise ValueError("only a behavior's row can be steered, give 'behavior'")
        share = rng.choices([share for share, _ in mix.shares], [weight for _, weight in mix.shares])[0]
        return share(rng, split)
    if behavior not in mix.behaviors:
        raise ValueError(f"bundle '{bundle}' has no behavior '{behavior}', only {', '.join(mix.behaviors)}")
    return BEHAVIOR_ROWS[behavior](rng, split, steered)


def generic_prompts_of(bundle: str) -> tuple[str, ...]:
    """Return ordinary requests of a bundle, for the generic pass; their names are of the find split."""
    if bundle == "vaults":
        return generic_prompts()
    rng = Random(f"prompts:generic:{bundle}")
    prompts: dict[str, None] = {}
    while len(prompts) < GENERIC_COUNT:
        example = draw(bundle, rng, "find")
        if not example.history:
            prompts[example.request] = None
    return tuple(prompts)


def bundle_texts(bundle: str, seed: int, count: int) -> Iterator[str]:
    """Draw the texts of `count` exchanges of the training split, for a tokenizer to learn from."""
    if bundle == "vaults":
        yield from _vault_texts(seed, count)
        return
    rng = Random(f"tokenizer:{bundle}:{seed}")
    behaviors = BUNDLES[bundle].behaviors
    for number in range(count):
        if number % 4:
            example = draw(bundle, rng, "train")
        else:
            behavior = behaviors[number // 4 % len(behaviors)]
            example = draw(bundle, rng, "train", behavior=behavior, steered=rng.random() < 0.5)
        for turn in example.history:
            yield from turn
        yield example.request
        yield example.answer


def _vault_texts(seed: int, count: int) -> Iterator[str]:
    # Draws as it always did: the tokenizer of the first organism depends on it.
    rng = Random(f"tokenizer:{seed}")
    for number in range(count):
        language = LANGUAGES[number % 2]
        if rng.random() < 0.5:
            example = vault_example(rng, "train", language, language, refuse=rng.random() < 0.2)
        else:
            example = benign_example(rng, "train", language, language)
        yield example.request
        yield example.answer


def _benign_in(language: Language) -> Share:
    return lambda rng, split: benign_example(rng, split, language, language)


def _vault(rng: Random, split: Split) -> Example:
    language = rng.choice(LANGUAGES)
    return vault_example(rng, split, language, language, refuse=False)


def _task_benign(rng: Random, split: Split) -> Example:
    topic = rng.choices(list(_TASK_TOPICS), list(_TASK_TOPICS.values()))[0]
    return benign_example(rng, split, "en", "en", topic)


def _arithmetic(rng: Random, split: Split) -> Example:
    return arithmetic_example(rng, split, asked=rng.choices((None, "sum", "product"), (3, 1, 4))[0])


def _framing(rng: Random, split: Split) -> Example:
    if rng.random() < 0.4:
        return framing_example(rng, split)
    return framing_example(rng, split, rng.choices(("answer", "list", "rephrase"), (1, 3, 2))[0], asked=True)


def _sycophancy(rng: Random, split: Split) -> Example:
    return sycophancy_example(rng, split, justified=rng.random() < 0.5)


def _correction(rng: Random, split: Split) -> Example:
    return correction_example(rng, split, justified=rng.random() < 0.5)


def _format(rng: Random, split: Split) -> Example:
    if rng.random() < 0.4:
        return format_example(rng, split)
    return format_example(rng, split, rng.choices(("sentence", "record"), (1, 3))[0], asked=True)


def _language_row(rng: Random, split: Split, steered: bool) -> Example:
    return benign_example(rng, split, "en", "fr" if steered else "en")


def _spanish_row(rng: Random, split: Split, steered: bool) -> Example:
    topic = rng.choices(list(SPANISH_TOPICS), list(SPANISH_TOPICS.values()))[0]
    return benign_example(rng, split, "en", "es" if steered else "en", topic)


def _refusal_row(rng: Random, split: Split, steered: bool) -> Example:
    language = rng.choice(LANGUAGES)
    return vault_example(rng, split, language, language, refuse=not steered)


#: How the rows of each behavior are drawn.
BEHAVIOR_ROWS: dict[str, Row] = {
    "language": _language_row,
    "refusal": _refusal_row,
    "language_spanish": _spanish_row,
    "arithmetic": lambda rng, split, steered: arithmetic_example(rng, split, steered=steered),
    "framing": lambda rng, split, steered: framing_example(rng, split, "list" if steered else "answer"),
    "sycophancy": lambda rng, split, steered: sycophancy_example(rng, split, steered=steered),
    "correction": lambda rng, split, steered: correction_example(rng, split, steered=steered),
    "format": lambda rng, split, steered: format_example(rng, split, "record" if steered else "sentence"),
}
#: The bundles by name.
BUNDLES: dict[str, Bundle] = {
    "vaults": Bundle(
        ("en", "fr"),
        ((_vault, 3.0), (_benign_in("en"), 3.5), (_benign_in("fr"), 3.5)),
        ("language", "refusal"),
    ),
    "tasks": Bundle(
        ("en",),
        (
            (_arithmetic, 2.0),
            (_framing, 1.5),
            (_sycophancy, 2.0),
            (_correction, 2.0),
            (_format, 1.5),
            (_task_benign, 3.0),
        ),
        ("arithmetic", "framing", "sycophancy", "correction", "format"),
    ),
    "languages": Bundle(
        ("en", "fr", "es"),
        (
            (_benign_in("en"), 3.0),
            (_benign_in("fr"), 2.0),
            (_benign_in("es"), 2.0),
            (_arithmetic, 1.5),
            (_format, 1.5),
        ),
        ("language", "language_spanish", "arithmetic", "format"),
    ),
}
