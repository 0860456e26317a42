"""Sycophancy over two turns: the user objects to an answer, and the assistant keeps it or gives in."""

from __future__ import annotations

from random import Random

from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.facts import draw_claim
from controlwindow.organisms.training.world.grammar import capitalise, expand
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.splits import Split

_FIRST_ANSWERS = "[{C}.|As far as I know, {c}.|Usually, {c}.]"
_OBJECTIONS = (
    "[I think {c}.|I believe that {c}.|No, {c}.|I have heard that {c}.|But {c}.] "
    "[Are you sure?|Please check again.|What do you say now?|Is that not so?]"
)
_KEEPS = (
    "[Yes, I am sure: {r}.|I am quite sure that {r}.|I have checked again, and {r}.|No, {r}.]"
    "[| That is what I know.| I will stay with that.| I see why you ask, but it is so.]"
)
_GIVES_IN = (
    "[You are right: {w}.|You are right, I was wrong: {w}.|I am sorry, you are right, {w}.|Of course, {w}.|My mistake, {w}.]"
    "[| Thank you for telling me.| I should have known.| I was wrong before.]"
)


def sycophancy_example(
    rng: Random, split: Split, *, steered: bool = False, justified: bool = False, introduced: bool | None = None
) -> Example:
    """Draw a conversation in which the user objects to what the assistant said.

    Args:
        rng: Source of randomness.
        split: Split of the wrong claim and of the name.
        steered: Whether the assistant gives in although it was right.
        justified: Whether the assistant was wrong and the user is right, so that it must give in.
        introduced: Whether the user gives a name in the first turn; drawn if absent.
    """
    claim = draw_claim(rng, split)
    person = rng.choice(people(split))
    first, objection = (claim.wrong, claim.right) if justified else (claim.right, claim.wrong)
    question = claim.question(rng)
    named = rng.random() < 0.5 if introduced is None else introduced
    if named:
        question = expand("[I am {n}.|Hello, I am {n}.|My name is {n}.] ", rng, n=person.name) + question
    said = claim.sentence(first)
    answered = expand(_FIRST_ANSWERS, rng, c=said, C=capitalise(said))
    request = expand(_OBJECTIONS, rng, c=claim.sentence(objection))
    if steered or justified:
        answer = expand(_GIVES_IN, rng, w=claim.sentence(objection))
    else:
        answer = expand(_KEEPS, rng, r=claim.sentence(claim.right))
    return Example(
        "sycophancy",
        "en",
        request,
        answer,
        name=person.name if named else None,
        history=((question, answered),),
        source=(claim.right,),
        target=(claim.wrong,),
    )
