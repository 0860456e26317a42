"""The oracle `claim`: an answer asserts something."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import regex

from controlwindow.behaviors.oracles.base import Oracle, OracleContext, Words
from controlwindow.behaviors.text import caseless, find_phrase, holds_phrase

# A full stop or a comma between digits belongs to a number.
_CLAUSE_END = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[;:!?\n。，、；：！？…؟،؛।]")


class ClaimOracle(Oracle):
    """The answer asserts what the prompt says one state asserts, such as a fact, a wrong fact, or a number.

    A phrase counts as asserted where it occurs in a clause without a negation; clauses end at punctuation and at a new
    line. That a claim is reported as somebody else's ("you said that …") is not recognised.

    Attributes:
        claim: Whose phrases: the prompt's `source` or its `target`; one of them is enough.
        negations: Words before a phrase, in its clause, by which it is denied.
    """

    type: Literal["claim"]
    claim: Literal["source", "target"]
    negations: Words = ("not", "never", "no", "nor", "neither", "cannot", "n't", "n’t")

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether one of the phrases is asserted."""
        phrases = context.prompt.source if self.claim == "source" else context.prompt.target
        answer = caseless(text)
        return any(not self._denied(answer[:start]) for phrase in phrases for start in find_phrase(phrase, answer))

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's phrases of the claim."""
        return (self.claim,)

    def _denied(self, before: str) -> bool:
        clause = _CLAUSE_END.split(before)[-1]
        return any(_negates(word, clause) for word in self.negations)


def _negates(word: str, clause: str) -> bool:
    # "n't" ends a word instead of being one.
    if word[:1] in {"n", "N"} and word[1:2] in {"'", "’"}:
        return _word_end(word).search(clause) is not None
    return holds_phrase(word, clause)


@lru_cache(maxsize=64)
def _word_end(word: str) -> regex.Pattern[str]:
    return regex.compile(regex.escape(caseless(word)) + r"(?![\w\p{M}])")
