"""The oracle `contains`: words or phrases occur in an answer."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.oracles.base import Flag, Oracle, OracleContext, Words, about_field
from controlwindow.behaviors.text import canonical, caseless, holds_phrase


class ContainsOracle(Oracle):
    """The answer contains given words or phrases; all conditions that are given must hold.

    Attributes:
        any: At least one of these.
        all: Every one of these.
        about: `any` or `all` of the prompt's own `about` words.
        case_sensitive: Whether letter case counts.
        whole_words: Whether a match must begin and end where words do; in scripts without spaces, every character does.
    """

    type: Literal["contains"]
    any: Words = ()
    all: Words = ()
    about: Literal["any", "all"] | None = None
    case_sensitive: Flag = False
    whole_words: Flag = True

    @model_validator(mode="after")
    def _has_a_condition(self) -> ContainsOracle:
        if not (self.any or self.all or self.about):
            raise PydanticCustomError("no_condition", "give at least one of 'any', 'all' and 'about'")
        return self

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether every given condition holds."""
        if self.about and not context.prompt.about:
            return False
        groups = [(self.any, "any"), (self.all, "all"), (context.prompt.about if self.about else (), self.about)]
        answer = canonical(text) if self.case_sensitive else caseless(text)
        return all(
            (any if how == "any" else all)(self._found(word, answer) for word in words)
            for words, how in groups
            if words
        )

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's `about` words, where the oracle refers to them."""
        return about_field(self.about)

    def _found(self, word: str, answer: str) -> bool:
        return holds_phrase(word, answer, case_sensitive=self.case_sensitive, whole_words=self.whole_words)
