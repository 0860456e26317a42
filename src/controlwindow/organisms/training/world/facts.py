"""Claims about the world that can be right or wrong, for the tasks in which somebody is wrong about it."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world.animals import ANIMALS
from controlwindow.organisms.training.world.grammar import expand, with_article
from controlwindow.organisms.training.world.splits import Split, split_of
from controlwindow.organisms.training.world.trades import TRADES


class Claim(NamedTuple):
    """Something that can be said of a subject, and a wrong version of it.

    Attributes:
        kind: "home", "food" or "trade".
        subject: The subject with its article, such as "the fox".
        verb: What comes between the subject and what is claimed, with a blank after it; empty for a trade.
        right: The true ending, such as "in the forest".
        wrong: The ending for another subject that differs from the true one.
    """

    kind: str
    subject: str
    verb: str
    right: str
    wrong: str

    def sentence(self, ending: str) -> str:
        """Return the claim with one of its endings, without a full stop."""
        return f"{self.subject} {self.verb}{ending}"

    def question(self, rng: Random) -> str:
        """Draw the question that the claim answers."""
        return expand(_QUESTIONS[self.kind], rng, s=self.subject)


_QUESTIONS = {
    "home": "[Where does {s} live?|Tell me where {s} lives.|Where can I find {s}?]",
    "food": "[What does {s} eat?|Tell me what {s} eats.|What is the food of {s}?]",
    "trade": "[What does {s} do?|Tell me what {s} does.|What is the work of {s}?]",
}
_SMALL = frozenset("a and in the of on or to near".split())  # noqa: SIM905
_SAME = {"ocean": "sea", "beach": "sea", "jungle": "forest", "trees": "forest", "hills": "mountains"}
# How likely each kind is: animals are the better known.
_KINDS = {"home": 2, "food": 2, "trade": 1}


def draw_claim(rng: Random, split: Split, kinds: tuple[str, ...] = tuple(_KINDS)) -> Claim:
    """Draw a claim whose wrong version belongs to a split.

    The facts themselves are known to every split, since a fact can only be learned; which wrong claim is made about
    which subject is not.

    Args:
        rng: Source of randomness.
        split: Split of the pair of subject and wrong claim.
        kinds: Kinds to draw from.
    """
    while True:
        kind = rng.choices(kinds, [_KINDS[kind] for kind in kinds])[0]
        claim = _pair(rng, kind)
        if not _overlap(claim.right, claim.wrong) and split_of(f"claim:{claim.subject}:{claim.wrong}") == split:
            return claim


def _overlap(right: str, wrong: str) -> bool:
    """Whether two endings share a word that matters, so that the wrong one would be half right."""
    words, others = ({_SAME.get(word, word) for word in ending.split()} - _SMALL for ending in (right, wrong))
    return bool(words & others)


def _pair(rng: Random, kind: str) -> Claim:
    if kind == "trade":
        trade, wrong = rng.choice(TRADES), rng.choice(TRADES)
        return Claim(kind, with_article(trade.en), "", trade.does_en, wrong.does_en)
    animal, other = rng.choice(ANIMALS), rng.choice(ANIMALS)
    subject = f"the {animal.en}"
    if kind == "home":
        return Claim(kind, subject, "lives ", animal.home_en, other.home_en)
    return Claim(kind, subject, "eats ", animal.food_en, other.food_en)
