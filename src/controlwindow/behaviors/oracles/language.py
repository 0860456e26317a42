"""The oracle `language`: an answer is in a language."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, Strict

from controlwindow.behaviors.languages import checked_language, identify_language
from controlwindow.behaviors.oracles.base import Oracle, OracleContext
from controlwindow.behaviors.text import canonical

_RELATIVE = frozenset({"prompt", "other"})


def _code_or_relation(code: str) -> str:
    return code if code in _RELATIVE else checked_language(code)


class LanguageOracle(Oracle):
    """The answer is in a language; a text too short or mixed to tell matches nothing.

    Attributes:
        language: ISO 639-1 code, `prompt` (the prompt's own language) or `other` (another one of the behavior's).
        minimum_confidence: Least probability among the behavior's languages.
    """

    reads_parts_of_words: ClassVar[bool] = True

    type: Literal["language"]
    language: Annotated[str, AfterValidator(_code_or_relation)]
    minimum_confidence: Annotated[float, Strict(), Field(ge=0.5, le=1.0)] = 0.65

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text is in the language asked for."""
        named = () if self.language in _RELATIVE else (self.language,)
        languages = (*context.languages, *named, *filter(None, [context.prompt.language]))
        found = identify_language(canonical(text), languages, self.minimum_confidence).language
        if found is None:
            return False
        if self.language == "prompt":
            return found == context.prompt.language
        if self.language == "other":
            return found != context.prompt.language
        return found == self.language

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's language, where the oracle refers to it."""
        return ("language",) if self.language in _RELATIVE else ()
