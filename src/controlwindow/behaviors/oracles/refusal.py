"""The oracle `refusal`: an answer declines."""

from __future__ import annotations

from typing import Any, Literal

from controlwindow.behaviors.languages import Language
from controlwindow.behaviors.oracles.base import Count, Oracle, OracleContext
from controlwindow.behaviors.patterns import Pattern
from controlwindow.behaviors.refusals import OPENING, PATTERNS, SHIPPED_LANGUAGES, is_refusal


class RefusalOracle(Oracle):
    """The answer declines, in any of the behavior's languages.

    Attributes:
        patterns: Further regular expressions, matched without regard to case in the opening of the answer.
        languages: ISO 639-1 codes to use instead of the behavior's.
        opening: Characters at the beginning of the answer that are looked at.
    """

    type: Literal["refusal"]
    patterns: tuple[Pattern, ...] = ()
    languages: tuple[Language, ...] | None = None
    opening: Count = OPENING

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text declines."""
        return is_refusal(text, frozenset(self.languages or context.languages), self.patterns, self.opening)

    def misfit(self, languages: tuple[str, ...]) -> str | None:
        """A language without shipped patterns, where no others are given."""
        bare = sorted(set(self.languages or languages) - SHIPPED_LANGUAGES)
        if self.patterns or not bare:
            return None
        shipped = ", ".join(sorted(SHIPPED_LANGUAGES))
        return f"no refusal patterns are shipped for '{bare[0]}' (only for {shipped}); give 'patterns'"

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """The fields and the shipped patterns that apply."""
        used = sorted(set(self.languages or languages) & SHIPPED_LANGUAGES)
        return super().identity(languages) | {"shipped": {code: PATTERNS[code] for code in used}}
