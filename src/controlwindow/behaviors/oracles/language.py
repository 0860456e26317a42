"""The oracle `language`: an answer is in a language."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, Strict

from controlwindow.behaviors.languages import checked_language, identify_language
from controlwindow.behaviors.oracles.base import Flag, Oracle, OracleContext
from controlwindow.behaviors.text import canonical

_RELATIVE = frozenset({"prompt", "other"})
_UNTOLD = frozenset({"short", "mixed", "unsure"})


def _code_or_relation(code: str) -> str:
    return code if code in _RELATIVE else checked_language(code)


class LanguageOracle(Oracle):
    """The answer is in a language; a text too short or mixed to tell matches nothing.

    Attributes:
        language: ISO 639-1 code, `prompt` (the prompt's own language) or `other` (another one of the behavior's).
        minimum_confidence: Least probability among the behavior's languages.
        abstain: Whether a text whose language cannot be told is left undecided, instead of matching nothing.
    """

    reads_parts_of_words: ClassVar[bool] = True

    type: Literal["language"]
    language: Annotated[str, AfterValidator(_code_or_relation)]
    minimum_confidence: Annotated[float, Strict(), Field(ge=0.5, le=1.0)] = 0.65
    abstain: Flag = False

    @property
    def may_abstain(self) -> bool:
        """Where it is told to."""
        return self.abstain

    def matches(self, text: str, context: OracleContext) -> bool | None:
        """Tell whether the text is in the language asked for."""
        named = () if self.language in _RELATIVE else (self.language,)
        languages = (*context.languages, *named, *filter(None, [context.prompt.language]))
        guess = identify_language(canonical(text), languages, self.minimum_confidence)
        found = guess.language
        if found is None:
            # A text in another script or language is in none of these; that is told, not guessed.
            return None if self.abstain and guess.reason in _UNTOLD else False
        if self.language == "prompt":
            return found == context.prompt.language
        if self.language == "other":
            return found != context.prompt.language
        return found == self.language

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's language, where the oracle refers to it."""
        return ("language",) if self.language in _RELATIVE else ()

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """The fields; behaviors from before there was a choice keep their fingerprint."""
        fields = super().identity(languages)
        if not self.abstain:
            del fields["abstain"]
        return fields
