"""Templates with alternatives: `[a|b]` draws one of them, `{slot}` is filled in."""

from __future__ import annotations

import re
from random import Random
from typing import Literal

Language = Literal["en", "fr", "es"]
# Those that every topic speaks; Spanish is spoken by some (see `spanish`).
LANGUAGES: tuple[Language, ...] = ("en", "fr")

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_VOWELS = "aeiouAEIOU"


def expand(template: str, rng: Random, **slots: str) -> str:
    """Draw one text from a template.

    Innermost alternatives are drawn first, left to right, so that they may be nested and the draw is reproducible.

    Args:
        template: Text with `[a|b|c]` alternatives and `{slot}` gaps.
        rng: Source of randomness.
        **slots: Values of the gaps; they are filled in after the draw, so their text is never read as a template.

    Returns:
        The text.

    Example:
        >>> expand("[Good] morning, {name}!", Random(0), name="Mila")
        'Good morning, Mila!'
    """
    while match := _ALTERNATIVES.search(template):
        choice = rng.choice(match.group(1).split("|"))
        template = template[: match.start()] + choice + template[match.end() :]
    return template.format(**slots)


def capitalise(text: str) -> str:
    """Raise the first letter and leave the rest alone (`str.capitalize` would lower names).

    Example:
        >>> capitalise("l'ours de Mila")
        "L'ours de Mila"
    """
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    """Put the English indefinite article before a noun.

    Example:
        >>> with_article("astronomer"), with_article("baker")
        ('an astronomer', 'a baker')
    """
    return f"{'an' if noun[0] in _VOWELS else 'a'} {noun}"


def other(language: Language) -> Language:
    """Return the other one of the languages that every topic speaks."""
    return "fr" if language == "en" else "en"
