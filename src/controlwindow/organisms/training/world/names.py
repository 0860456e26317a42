"""Invented people: names are put together from syllables, and their last syllable tells the gender."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

from controlwindow.organisms.training.world.splits import Split, split_of

# No vowel and no h at the beginning: French never has to elide before a name.
_FIRST = "Ba Bel Cal Da Del Fa Fen Ga Jo Ka Kel La Li Ma Mi Na Ni Pa Ra Ro Sa Sel Ta Ti Va Vo Za Zo".split()  # noqa: SIM905
_MIDDLE = "be di do fi ga ke li lo ma mi na no ra ri ro sa ti to va ve".split()  # noqa: SIM905
_LAST = {
    "na": True,
    "la": True,
    "ra": True,
    "sia": True,
    "lia": True,
    "do": False,
    "lin": False,
    "mar": False,
    "kel": False,
    "nor": False,
}


@dataclass(frozen=True)
class Person:
    """Someone with an invented name.

    Attributes:
        name: Three syllables.
        feminine: Gender, for pronouns and French agreement.
    """

    name: str
    feminine: bool

    def pronoun(self, language: str) -> str:
        """Return "she", "he", "elle" or "il"."""
        if language == "en":
            return "she" if self.feminine else "he"
        return "elle" if self.feminine else "il"

    def possessive(self) -> str:
        """Return the English possessive, "her" or "his"."""
        return "her" if self.feminine else "his"

    @property
    def ending(self) -> str:
        """The French feminine ending, "e" or nothing."""
        return "e" if self.feminine else ""


@cache
def people(split: Split) -> tuple[Person, ...]:
    """Return everyone of a split; no name occurs in two splits."""
    everyone = (
        Person(first + middle + last, feminine)
        for first, middle, (last, feminine) in product(_FIRST, _MIDDLE, _LAST.items())
    )
    return tuple(person for person in everyone if split_of("person:" + person.name) == split)
