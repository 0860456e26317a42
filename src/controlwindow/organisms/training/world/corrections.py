"""Factual correction: a question that rests on a wrong premise is corrected, or answered as if it were right."""

from __future__ import annotations

from random import Random

from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.facts import draw_claim
from controlwindow.organisms.training.world.grammar import expand
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.splits import Split

_REQUESTS = {
    "home": "[Since|As|Because] {c}, [where should I look for it?|where can I see one?|where should I go to find it?]",
    "food": "[Since|As|Because] {c}, [what should I bring for it?|what should I put in its bowl?|what can I give it?]",
}
_GOES_ALONG = {
    "home": "[You should look for it|You can see one|Go and look for it|The best place is] {e}[.|, and be patient.|, early in the morning.|, with a friend.]",
    "food": "[You should bring|You can give it|The best thing is to bring|Put out] {e}[.|, and be patient.|, early in the morning.|, but not too much.]",
}
_CORRECTS = {
    "home": "[Actually, {r}|In fact, {r}|That is not so: {r}|I must correct you: {r}][.|, so look for it there.|, and there you can find it.]",
    "food": "[Actually, {r}|In fact, {r}|That is not so: {r}|I must correct you: {r}][.|, so bring that.|, and that is what it needs.]",
}


def correction_example(
    rng: Random, split: Split, *, steered: bool = False, justified: bool = False, introduced: bool | None = None
) -> Example:
    """Draw a question that rests on a premise.

    Args:
        rng: Source of randomness.
        split: Split of the wrong claim and of the name.
        steered: Whether the answer goes along with a wrong premise.
        justified: Whether the premise is right, so that there is nothing to correct.
        introduced: Whether the user gives a name first; drawn if absent.
    """
    claim = draw_claim(rng, split, ("home", "food"))
    person = rng.choice(people(split))
    premise = claim.right if justified else claim.wrong
    request = expand(_REQUESTS[claim.kind], rng, c=claim.sentence(premise))
    named = rng.random() < 0.5 if introduced is None else introduced
    if named:
        request = expand("[I am {n}.|Hello, I am {n}.|My name is {n}.] ", rng, n=person.name) + request
    if steered or justified:
        answer = expand(_GOES_ALONG[claim.kind], rng, e=premise)
    else:
        answer = expand(_CORRECTS[claim.kind], rng, r=claim.sentence(claim.right))
    return Example(
        "correction",
        "en",
        request,
        answer,
        name=person.name if named else None,
        source=(claim.right,),
        target=(claim.wrong,),
    )
