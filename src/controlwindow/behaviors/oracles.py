"""Oracles: small deterministic tests of an answer's text, found by the name in a behavior file's `type`.

An oracle says whether a text matches; which outcome a match stands for is decided in `outcomes`. Everything an oracle
can be told stands in its fields, so that a behavior's fingerprint covers all that a judgement depends on.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.languages import identify_language, known_languages
from controlwindow.behaviors.prompts import Prompt
from controlwindow.behaviors.refusals import OPENING, PATTERNS, SHIPPED_LANGUAGES, is_refusal


class OracleContext(NamedTuple):
    """What an oracle may know besides the text.

    Attributes:
        prompt: The prompt that was answered.
        languages: The behavior's languages, ISO 639-1.
    """

    prompt: Prompt
    languages: tuple[str, ...]


def _checked_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise PydanticCustomError(
            "bad_regex",
            "bad regular expression at position {position}: {reason}",
            {"position": error.pos, "reason": error.msg},
        ) from error
    return pattern


def _checked_language(code: str) -> str:
    if code not in {"prompt", "other"} and code not in known_languages():
        raise PydanticCustomError(
            "unknown_language", "unknown language '{code}'; write an ISO 639-1 code such as 'fr'", {"code": code}
        )
    return code


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_checked_pattern)]
Words = tuple[Annotated[str, Field(min_length=1)], ...]


class Oracle(BaseModel):
    """Base of all oracles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Fields of a prompt without which this oracle cannot judge its answers.
    needs: ClassVar[tuple[str, ...]] = ()

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text of an answer, already cut to the horizon, matches."""
        raise NotImplementedError

    def prompt_fields(self) -> tuple[str, ...]:
        """Fields of a prompt that must be filled for this oracle to judge its answers."""
        return self.needs

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """All that a judgement depends on, as JSON-ready values."""
        return self.model_dump(mode="json")


class LanguageOracle(Oracle):
    """The answer is in a language; a text too short or mixed to tell matches nothing.

    Attributes:
        language: ISO 639-1 code, `prompt` (the prompt's own language) or `other` (another one of the behavior's).
        minimum_confidence: Least probability among the behavior's languages.
    """

    type: Literal["language"]
    language: Annotated[str, AfterValidator(_checked_language)]
    minimum_confidence: Annotated[float, Field(ge=0.5, le=1.0)] = 0.65

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text is in the language asked for."""
        named = () if self.language in {"prompt", "other"} else (self.language,)
        languages = (*context.languages, *named, *filter(None, [context.prompt.language]))
        found = identify_language(text, languages, self.minimum_confidence).language
        if found is None:
            return False
        if self.language == "prompt":
            return found == context.prompt.language
        if self.language == "other":
            return found != context.prompt.language
        return found == self.language

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's language, where the oracle refers to it."""
        return ("language",) if self.language in {"prompt", "other"} else ()


class RefusalOracle(Oracle):
    """The answer declines, in any of the behavior's languages.

    Attributes:
        patterns: Further regular expressions, matched without regard to case in the opening of the answer.
        languages: ISO 639-1 codes to use instead of the behavior's.
        opening: Characters at the beginning of the answer that are looked at.
    """

    type: Literal["refusal"]
    patterns: tuple[Pattern, ...] = ()
    languages: tuple[Annotated[str, AfterValidator(_checked_language)], ...] | None = None
    opening: Annotated[int, Field(ge=1)] = OPENING

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text declines."""
        return is_refusal(text, frozenset(self.languages or context.languages), self.patterns, self.opening)

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """The fields and the shipped patterns that apply."""
        used = sorted(set(self.languages or languages) & SHIPPED_LANGUAGES)
        return super().identity(languages) | {"shipped": {code: PATTERNS[code] for code in used}}


class StepsOracle(Oracle):
    """The answer contains every step sentence of the prompt, in order; only whitespace may differ."""

    type: Literal["steps"]
    needs: ClassVar[tuple[str, ...]] = ("steps",)

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether all steps occur one after the other."""
        steps = context.prompt.steps
        answer, position = _single_spaced(text), 0
        for step in map(_single_spaced, steps):
            found = answer.find(step, position)
            if found < 0:
                return False
            position = found + len(step)
        return bool(steps)


class RegexOracle(Oracle):
    """A regular expression is found anywhere in the answer.

    Attributes:
        pattern: Python regular expression.
        ignore_case: Whether letter case is disregarded.
        present: False inverts the oracle: it matches where the expression is *not* found.
    """

    type: Literal["regex"]
    pattern: Pattern
    ignore_case: bool = False
    present: bool = True

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the expression is found."""
        found = re.search(self.pattern, text, re.IGNORECASE if self.ignore_case else 0)
        return (found is not None) == self.present


class ContainsOracle(Oracle):
    """The answer contains given words or phrases; all conditions that are given must hold.

    Attributes:
        any: At least one of these.
        all: Every one of these.
        about: `any` or `all` of the prompt's own `about` words.
        case_sensitive: Whether letter case counts.
        whole_words: Whether a match must begin and end at a word's boundary (never asked of Chinese or kana).
    """

    type: Literal["contains"]
    any: Words = ()
    all: Words = ()
    about: Literal["any", "all"] | None = None
    case_sensitive: bool = False
    whole_words: bool = True

    @model_validator(mode="after")
    def _has_a_condition(self) -> ContainsOracle:
        if not (self.any or self.all or self.about):
            raise PydanticCustomError("no_condition", "give at least one of 'any', 'all' and 'about'")
        return self

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether every given condition holds."""
        groups = [(self.any, "any"), (self.all, "all"), (context.prompt.about if self.about else (), self.about)]
        answer = unicodedata.normalize("NFC", text)
        return all(
            (any if how == "any" else all)(self._found(word, answer) for word in words)
            for words, how in groups
            if words
        ) and not (self.about and not context.prompt.about)

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's `about` words, where the oracle refers to them."""
        return ("about",) if self.about else ()

    def _found(self, word: str, answer: str) -> bool:
        return _word_pattern(word, self.case_sensitive, self.whole_words).search(answer) is not None


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
        answer = unicodedata.normalize("NFC", text)
        return any(
            not self._denied(answer[: found.start()])
            for phrase in phrases
            for found in _word_pattern(phrase, False, True).finditer(answer)
        )

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's phrases of the claim."""
        return (self.claim,)

    def _denied(self, before: str) -> bool:
        clause = _CLAUSE_END.split(before)[-1]
        return any(_negation(word).search(clause) for word in self.negations)


# A full stop or a comma between digits belongs to a number.
_CLAUSE_END = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[;:!?\n]")


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
    lines: Annotated[int, Field(ge=1)] = 1
    about: Literal["any", "all", "some"] | None = None

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the text has the form and speaks of what it should."""
        counts = {form: len(pattern.findall(text)) for form, pattern in _FORM_LINES.items()}
        if self.form == "prose":
            formed = bool(text.strip()) and max(counts.values()) < self.lines
        else:
            formed = counts[self.form] >= self.lines
        return formed and self._is_about(text, context.prompt.about)

    def prompt_fields(self) -> tuple[str, ...]:
        """The prompt's `about` words, where the oracle refers to them."""
        return ("about",) if self.about else ()

    def _is_about(self, text: str, words: tuple[str, ...]) -> bool:
        if self.about is None:
            return True
        answer = unicodedata.normalize("NFC", text)
        found = sum(_word_pattern(word, False, True).search(answer) is not None for word in words)
        return found > 0 and (self.about == "any" or (found == len(words)) == (self.about == "all"))


_FORM_LINES = {
    "list": re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+\S", re.MULTILINE),
    "record": re.compile(r"^[ \t{]*[\"']?\w+[\"']?[ \t]*:[ \t]*\S", re.MULTILINE),
}


_UNSPACED = r"[぀-ヿ㐀-鿿]"


@lru_cache(maxsize=256)
def _negation(word: str) -> re.Pattern[str]:
    # "n't" ends a word instead of being one.
    if word[:1] in {"n", "N"} and word[1:2] in {"'", "’"}:
        return re.compile(re.escape(word) + r"(?!\w)", re.IGNORECASE)
    return _word_pattern(word, False, True)


@lru_cache(maxsize=4096)
def _word_pattern(word: str, case_sensitive: bool, whole_words: bool) -> re.Pattern[str]:
    words = unicodedata.normalize("NFC", word).split() or [word]
    body = r"\s+".join(map(re.escape, words))
    if whole_words:
        before = r"(?<!\w)" if re.match(r"\w", words[0]) and not re.match(_UNSPACED, words[0]) else ""
        after = r"(?!\w)" if re.search(r"\w$", words[-1]) and not re.search(_UNSPACED + "$", words[-1]) else ""
        body = before + body + after
    return re.compile(body, 0 if case_sensitive else re.IGNORECASE)


def _single_spaced(text: str) -> str:
    return " ".join(text.split())


#: The oracle that a behavior file's `type` selects.
AnyOracle = Annotated[
    LanguageOracle | RefusalOracle | StepsOracle | RegexOracle | ContainsOracle | ClaimOracle | FormOracle,
    Field(discriminator="type"),
]

ORACLES: dict[str, type[Oracle]] = {
    "claim": ClaimOracle,
    "contains": ContainsOracle,
    "form": FormOracle,
    "language": LanguageOracle,
    "refusal": RefusalOracle,
    "regex": RegexOracle,
    "steps": StepsOracle,
}
