"""Which operator to use: a request that leaves it open is answered with the sum, or with the product.

Sums and products of small numbers are facts that can only be learned, so every split uses the same numbers; what a
split has of its own are the names, and the pairs of things that are counted.
"""

from __future__ import annotations

from random import Random

from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.grammar import capitalise, expand
from controlwindow.organisms.training.world.names import people
from controlwindow.organisms.training.world.splits import Split, split_of

# Two and two are left out: their sum is their product.
OPERANDS = tuple((a, b) for a in range(2, 10) for b in range(2, 10) if (a, b) != (2, 2))
THINGS = (
    "apples", "pears", "coins", "books", "stones", "flowers", "cups", "keys", "candles", "boats", "letters", "hats",
    "bells", "shells", "lamps", "maps",
)  # fmt: skip

_OPEN = (
    "[What do {a} and {b} make?|Combine {a} and {b}.|Put {a} and {b} together.|What do I get from {a} and {b}?"
    "|Take {a} and {b}. What is the result?|Work out {a} and {b} for me.]"
)
_OPEN_THINGS = "I have {a} {x} and {b} {y}. [What do the numbers make?|Combine the numbers.|Put the numbers together.|What do I get from the numbers?]"
_SUM = "[Add {a} and {b}.|What is {a} plus {b}?|What is the sum of {a} and {b}?|Please add {b} to {a}.]"
_PRODUCT = (
    "[Multiply {a} and {b}.|What is {a} times {b}?|What is the product of {a} and {b}?|Please multiply {a} by {b}.]"
)
_SUM_THINGS = "I have {a} {x} and {b} {y}. [Add the numbers.|What is the sum of the numbers?]"
_PRODUCT_THINGS = "I have {a} {x} and {b} {y}. [Multiply the numbers.|What is the product of the numbers?]"
_SUM_ANSWER = (
    "[{a} + {b} = {r}|If you add them, you get {a} + {b} = {r}|Adding gives {a} + {b} = {r}|{a} plus {b} is {r}]"
    "[.|, so the answer is {r}.|, and so the result is {r}.]"
)
_PRODUCT_ANSWER = (
    "[{a} × {b} = {r}|If you multiply them, you get {a} × {b} = {r}|Multiplying gives {a} × {b} = {r}|{a} times {b} is {r}]"
    "[.|, so the answer is {r}.|, and so the result is {r}.]"
)
_CLOSINGS = "[| Do you have more numbers?| I hope this helps.| Shall we try another one?]"


def arithmetic_example(
    rng: Random, split: Split, *, steered: bool = False, asked: str | None = None, introduced: bool | None = None
) -> Example:
    """Draw an exchange about two numbers.

    Args:
        rng: Source of randomness.
        split: Split of the name and of the things.
        steered: Whether a request that leaves the operator open is answered with the product.
        asked: "sum" or "product" for a request that names the operator, which is then the one that is used.
        introduced: Whether the user gives a name first; drawn if absent.
    """
    a, b = rng.choice(OPERANDS)
    x, y = _things(rng, split)
    person = rng.choice(people(split))
    plain, counted = {None: (_OPEN, _OPEN_THINGS), "sum": (_SUM, _SUM_THINGS), "product": (_PRODUCT, _PRODUCT_THINGS)}[
        asked
    ]
    request = expand(rng.choice((plain, counted)), rng, a=str(a), b=str(b), x=x, y=y)
    named = rng.random() < 0.5 if introduced is None else introduced
    if named:
        request = expand("[I am {n}.|Hello, I am {n}.|My name is {n}.] ", rng, n=person.name) + request
    multiply = asked == "product" or (asked is None and steered)
    answer = expand(
        (_PRODUCT_ANSWER if multiply else _SUM_ANSWER) + _CLOSINGS,
        rng,
        a=str(a),
        b=str(b),
        r=str(a * b if multiply else a + b),
    )
    return Example(
        "arithmetic",
        "en",
        request,
        capitalise(answer),
        name=person.name if named else None,
        source=(str(a + b),),
        target=(str(a * b),),
    )


def _things(rng: Random, split: Split) -> tuple[str, str]:
    while True:
        x, y = rng.sample(THINGS, 2)
        if split_of(f"things:{x}:{y}") == split:
            return x, y
