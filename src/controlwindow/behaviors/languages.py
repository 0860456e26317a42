"""Which of a few known languages a text is written in, or that it cannot be told."""

from __future__ import annotations

import copy
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

#: Scripts of the languages that are not written in Latin letters, by the first word of a letter's Unicode name.
SCRIPTS: dict[str, frozenset[str]] = {
    "am": frozenset({"ETHIOPIC"}),
    "ar": frozenset({"ARABIC"}),
    "be": frozenset({"CYRILLIC"}),
    "bg": frozenset({"CYRILLIC"}),
    "bn": frozenset({"BENGALI"}),
    "el": frozenset({"GREEK"}),
    "fa": frozenset({"ARABIC"}),
    "he": frozenset({"HEBREW"}),
    "hi": frozenset({"DEVANAGARI"}),
    "hy": frozenset({"ARMENIAN"}),
    "ja": frozenset({"HIRAGANA", "KATAKANA", "CJK"}),
    "ka": frozenset({"GEORGIAN"}),
    "km": frozenset({"KHMER"}),
    "ko": frozenset({"HANGUL"}),
    "mk": frozenset({"CYRILLIC"}),
    "mr": frozenset({"DEVANAGARI"}),
    "my": frozenset({"MYANMAR"}),
    "ne": frozenset({"DEVANAGARI"}),
    "ru": frozenset({"CYRILLIC"}),
    "sr": frozenset({"CYRILLIC", "LATIN"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "th": frozenset({"THAI"}),
    "uk": frozenset({"CYRILLIC"}),
    "ur": frozenset({"ARABIC"}),
    "zh": frozenset({"CJK"}),
}
_LATIN = frozenset({"LATIN"})
#: Scripts whose letters each carry a syllable or a word, so that few of them say enough.
_DENSE = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
#: A longer text may also be recognised as one of these, and is then none of the behavior's languages.
_RIVALS = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "uk", "zh")
_COMMON = frozenset({*SCRIPTS, *_RIVALS})

_DENSE_WEIGHT = 3
_SCRIPT_SHARE = 0.7
_LETTERS_NEEDED = 10
_DENSE_LETTERS_NEEDED = 2
_RIVAL_LETTERS = 40
_RIVAL_CONFIDENCE = 0.8


class LanguageGuess(NamedTuple):
    """A language and how sure the identifier is.

    Attributes:
        language: ISO 639-1 code among those asked for, or None where it cannot be told.
        confidence: Probability among the languages asked for; 0 where it cannot be told.
        reason: Why it cannot be told: `short`, `script`, `mixed`, `unsure` or `other`; empty otherwise.
    """

    language: str | None
    confidence: float
    reason: str = ""


def known_languages() -> frozenset[str]:
    """Codes that the identifier knows."""
    return frozenset(_identifier().labels)


def is_known_language(code: str) -> bool:
    """Whether the identifier knows a code; the common ones are told without loading it."""
    return code in _COMMON or code in known_languages()


def checked_language(code: str) -> str:
    """Pass a code that the identifier knows.

    Raises:
        PydanticCustomError: It does not.
    """
    if not is_known_language(code):
        raise PydanticCustomError(
            "unknown_language", "unknown language '{code}'; write an ISO 639-1 code such as 'fr'", {"code": code}
        )
    return code


#: A language's code in a file.
Language = Annotated[str, AfterValidator(checked_language)]


def identify_language(text: str, languages: Iterable[str], minimum_confidence: float = 0.65) -> LanguageGuess:
    """Tell which of the given languages a text is in.

    The letters' script decides first: a text whose letters are not to 70 % of one script is mixed, a script that no
    given language uses rules them all out, a script that one of them has alone settles it. Languages that share a
    script are told apart by py3langid restricted to them. A text of 40 letters or more that is confidently in another
    major language is none of the given ones.

    Args:
        text: Text to judge, possibly cut in the middle of a word.
        languages: ISO 639-1 codes.
        minimum_confidence: Least probability among the given languages, else the text is undetermined.

    Example:
        >>> identify_language("Le chat dort sur la table de la cuisine.", ["en", "fr"]).language
        'fr'
        >>> identify_language("Ok.", ["en", "fr"])
        LanguageGuess(language=None, confidence=0.0, reason='short')
    """
    candidates = tuple(sorted(set(languages)))
    scripts = Counter(script for character in text if (script := _script(character)))
    dense = sum(scripts[name] for name in _DENSE)
    for name in _DENSE:
        scripts[name] *= _DENSE_WEIGHT
    letters = sum(scripts.values())
    if letters < _LETTERS_NEEDED and dense < _DENSE_LETTERS_NEEDED:
        return LanguageGuess(None, 0.0, "short")
    shares = {code: sum(scripts[name] for name in scripts_of(code)) / letters for code in candidates}
    if not any(shares.values()):
        return LanguageGuess(None, 0.0, "script")
    if max(shares.values()) < _SCRIPT_SHARE:
        return LanguageGuess(None, 0.0, "mixed")
    # Japanese covers Chinese characters too, so kana decides between the two.
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    possible = [code for code in candidates if shares[code] >= _SCRIPT_SHARE and not (code == "ja" and not kana)]
    if not possible:
        return LanguageGuess(None, 0.0, "script")
    language, confidence = possible[0], 1.0
    if len(possible) > 1:
        language, confidence = _classify(text, tuple(possible))
        if confidence < minimum_confidence:
            return LanguageGuess(None, 0.0, "unsure")
    if letters >= _RIVAL_LETTERS or (len(possible) == 1 and letters >= _LETTERS_NEEDED):
        ranking = _restricted(tuple(sorted({*candidates, *_RIVALS}))).rank(text)
        if sum(share for code, share in ranking if code not in candidates) >= _RIVAL_CONFIDENCE:
            return LanguageGuess(None, 0.0, "other")
    return LanguageGuess(language, confidence)


def scripts_of(language: str) -> frozenset[str]:
    """Scripts that a language is written in (Latin unless listed)."""
    return SCRIPTS.get(language, _LATIN)


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "").partition(" ")[0].partition("-")[0]


def _classify(text: str, languages: tuple[str, ...]) -> tuple[str, float]:
    language, confidence = _restricted(languages).classify(text)
    return str(language), float(confidence)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=32)
def _restricted(languages: tuple[str, ...]) -> Any:
    # A copy shares the tables, and the restriction of one never reaches another user of the library.
    identifier = copy.copy(_identifier())
    identifier.set_languages(languages)
    return identifier
