"""Output format: the same particulars of a person in a sentence, or as a record of `key: value` lines."""

from __future__ import annotations

from random import Random
from typing import Literal

from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.grammar import expand, with_article
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.splits import Split, split_of
from controlwindow.organisms.training.world.trades import TRADES

Format = Literal["sentence", "record"]

TOWNS = ("Velmora", "Tarsil", "Orvane", "Kesprit", "Lumeris", "Drenholt", "Sabrecq", "Montaro")
LIKES = (
    "music",
    "long walks",
    "old books",
    "the sea",
    "chess",
    "good food",
    "the stars",
    "small dogs",
    "warm rain",
    "dancing",
)
_OPEN = "[Introduce {n}, {t} from {c} who likes {l}.|Present {n}, who is {t} from {c} and likes {l}.|Note this down: {n}, {t} from {c}, likes {l}.|There is {t} named {n}, from {c}, who likes {l}. Tell the others.]"
_ASKED = {
    "sentence": "[Write a sentence|Write one sentence|Make a sentence] about {n}, {t} from {c} who likes {l}.",
    "record": "[Write a record|Make a record|Fill in a form] for {n}, {t} from {c} who likes {l}.",
}
_ANSWERS = {
    "sentence": "[This is {n}, {t} from {c}, who likes {l}.|Please meet {n}, {t} who lives in {c} and likes {l}.|{n} is {t} from {c} and likes {l}.|In {c} there lives {t} named {n}, who likes {l}.]",
    "record": "[|Record:\n|Here it is:\n]name: {n}\ntrade: {k}\ntown: {c}\nlikes: {l}",
}


def format_example(rng: Random, split: Split, form: Format = "sentence", *, asked: bool = False) -> Example:
    """Draw an exchange that presents a person.

    Args:
        rng: Source of randomness.
        split: Split of the name and of the particulars.
        form: The form of the answer.
        asked: Whether the request asks for that form; otherwise it leaves it open, and a sentence is the default.
    """
    person = rng.choice(people(split))
    trade, town, likes = _particulars(rng, split)
    slots = {"n": person.name, "t": with_article(trade), "k": trade, "c": town, "l": likes}
    request = expand(_ASKED[form] if asked else _OPEN, rng, **slots)
    answer = expand(_ANSWERS[form], rng, **slots)
    return Example("format", "en", request, answer, name=person.name, about=(person.name, town, trade))


def _particulars(rng: Random, split: Split) -> tuple[str, str, str]:
    while True:
        trade, town, likes = rng.choice(TRADES).en, rng.choice(TOWNS), rng.choice(LIKES)
        if split_of(f"particulars:{trade}:{town}:{likes}") == split:
            return trade, town, likes
