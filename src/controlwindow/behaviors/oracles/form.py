"""The oracle `form`: an answer is a list, a record or prose."""

from __future__ import annotations

import re
from typing import Literal

from controlwindow.behaviors.oracles.base import Count, Oracle, OracleContext, about_field, words_found
from controlwindow.behaviors.text import canonical

_FORM_LINES = {
    "list": re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+\S", re.MULTILINE),
    "record": re.compile(r"^[ \t{]*[\"']?\w+[\"']?[ \t]*:[ \t]*\S", re.MULTILINE),
}


class FormOracle(Oracle):
    """The answer has a form: a list, a record of `key: value` lines, or prose, which has lines of neither kind.

    Attributes:
        form: The form. A list has lines that begin with a bullet or a number, a record lines that begin with one word
            and a colon.
        lines: Fewest such lines of a list or a record; prose has fewer of either kind.
        about: How many of the prompt's own `about` words occur: `any`, `all`, or `some` (at least one, but not all).
    """

    type: Literal["form"]
    form: Literal["list", "record", "prose"]
    lines: Count = 1
    about: Literal["any", "all", "some"] | None = None

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text has the form and speaks of what it should."""
        answer = canonical(text)
        counts = {form: len(pattern.findall(answer)) for form, pattern in _FORM_LINES.items()}
        if self.form == "prose":
            formed = bool(answer.strip()) and max(counts.values()) < self.lines
        else:
            formed = counts[self.form] >= self.lines
        return formed and self._is_about(answer, context.prompt.about)

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's `about` words, where the oracle refers to them."""
        return about_field(self.about)

    def _is_about(self, answer: str, words: tuple[str, ...]) -> bool:
        if self.about is None:
            return True
        found = words_found(words, answer)
        return found > 0 and (self.about == "any" or (found == len(words)) == (self.about == "all"))
