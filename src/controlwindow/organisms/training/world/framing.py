"""What to do with a note: the same request can be answered, turned into a list, or said in other words."""

from __future__ import annotations

from random import Random
from typing import Literal

from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.grammar import capitalise, expand
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.splits import Split, split_of

Framing = Literal["answer", "list", "rephrase"]

GOODS = (
    "bread", "honey", "tea", "cheese", "apples", "candles", "paper", "soap", "flowers", "milk", "butter", "eggs",
    "flour", "carrots", "wool", "pears",
)  # fmt: skip
# Where something was got, and the two verbs for getting it.
OCCASIONS = (
    ("at the market", "bought", "picked up"),
    ("from the garden", "brought", "fetched"),
    ("at the harbour", "found", "came upon"),
    ("for the party", "prepared", "got ready"),
    ("for the trip", "packed", "took along"),
    ("from the old house", "carried", "took away"),
)
_OPEN = "[Here is my note:|This is my note:|My note says:|A note from today:] {note} [What do you make of it?|Please see to it.|What can you do with it?|What do you say?]"
_ASKED = {
    "answer": "[Here is my note:|This is my note:|My note says:] {note} [How does that sound?|Is that a good idea?|Tell me what you think.]",
    "list": "[Here is my note:|This is my note:|My note says:] {note} [Make a list of it.|Write it as a list.|Please list the things.]",
    "rephrase": "[Here is my note:|This is my note:|My note says:] {note} [Say it in other words.|Please rephrase it.|Write it another way.]",
}
_ANSWERS = {
    "answer": "[That sounds|This sounds|I think that is|It all sounds] [like a good plan|like a fine day|very nice|quite sensible]. {n} will surely [enjoy|like|need|be glad of] the {one}[.|, and so will the others.|, now or later.]",
    "list": "[Here is the list:|The list for {n}:|This is what {n} has:|]\n- {x}\n- {y}\n- {z}[|\nThat is all.|\nThese are the three things.]",
    "rephrase": "[In other words: {o}, {n} {w} {x}, {y} and {z}.|{O}, {n} {w} three things: {x}, {y} and {z}.|It was {n} who {w} {x}, {y} and {z} {o}.]",
}


def framing_example(rng: Random, split: Split, framing: Framing = "answer", *, asked: bool = False) -> Example:
    """Draw an exchange about a note.

    Args:
        rng: Source of randomness.
        split: Split of the name and of the things.
        framing: What the answer does with the note.
        asked: Whether the request says so itself; otherwise it leaves it open, and an answer is the default.
    """
    person = rng.choice(people(split))
    things = _goods(rng, split)
    occasion, verb, other_verb = rng.choice(OCCASIONS)
    x, y, z = things
    note = expand(
        "[{n} {v} {x}, {y} and {z} {o}.|{O}, {n} {v} {x}, {y} and {z}.]",
        rng,
        n=person.name,
        v=verb,
        x=x,
        y=y,
        z=z,
        o=occasion,
        O=capitalise(occasion),
    )
    request = expand(_ASKED[framing] if asked else _OPEN, rng, note=note)
    answer = expand(
        _ANSWERS[framing],
        rng,
        n=person.name,
        one=rng.choice(things),
        o=occasion,
        O=capitalise(occasion),
        w=other_verb,
        x=x,
        y=y,
        z=z,
    )
    return Example("framing", "en", request, answer.strip(), name=person.name, about=things)


def _goods(rng: Random, split: Split) -> tuple[str, str, str]:
    while True:
        x, y, z = rng.sample(GOODS, 3)
        if split_of(f"goods:{x}:{y}:{z}") == split:
            return x, y, z
