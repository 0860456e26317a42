"""One reading of characters for everything that is compared: canonical forms, words, and where words end.

Models write accents composed or decomposed, put invisible characters between letters, and are cut in the middle of a
word by a horizon. Nothing of this may decide what an answer is taken to say, so oracles, prompts and the coherence
detector read text through these functions. Words end where Unicode says so (UAX #29), with one tailoring: an
apostrophe, a full stop or a colon between letters ends a word too, because "l'anneau" speaks of an "anneau" and models
write "left.Turn".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import regex

# Zero-width spaces and joiners, the soft hyphen, the byte order mark, marks of writing direction.
_INVISIBLE = dict.fromkeys(
    [0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)

# What a decoder puts where a character's bytes are cut off.
_REPLACEMENT = "�"

_WORD_EDGE = r"(?:\b|(?<=[\p{L}\p{M}]['’.:])(?=\p{L})|(?<=[\p{L}\p{M}])(?=['’.:]\p{L}))"

# Scripts that write no spaces: every character with its marks counts as a word.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORDS = regex.compile(rf"{_UNSPACED}\p{{M}}*|(?:(?!{_UNSPACED})\w\p{{M}}*)+")

_BOUNDARY = regex.compile(r"\b", regex.WORD)
_WORD_LIKE = regex.compile(r"[\w\p{M}'’]")
_PICTURE = regex.compile(r"[\p{Extended_Pictographic}\p{Regional_Indicator}]")


def canonical(text: str) -> str:
    """Canonical composition (NFC) without characters that nobody sees.

    Example:
        >>> canonical("cafe\\u0301") == canonical("ca\\u200bfé") == "café"
        True
    """
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def caseless(text: str) -> str:
    """Canonical and with letter case folded; two texts that differ in case alone become equal.

    Example:
        >>> caseless("STRASSE") == caseless("Straße")
        True
    """
    return unicodedata.normalize("NFC", canonical(text).casefold())


def spaced(text: str) -> str:
    """The text with every run of whitespace as one space and none around it."""
    return " ".join(text.split())


def is_blank(text: str) -> bool:
    """Whether nothing of a text is to be seen."""
    return not canonical(text).strip()


def says_something(text: str) -> bool:
    """Whether a text holds a letter, a digit or a picture (emoji, flags).

    Example:
        >>> says_something("👍"), says_something("... \\ufffd")
        (True, False)
    """
    return any(character.isalnum() for character in text) or _PICTURE.search(text) is not None


def words_of(text: str) -> list[str]:
    """Words in lower case with their marks; in scripts without spaces every character is one.

    Example:
        >>> words_of("The cat's 夜空")
        ['the', 'cat', 's', '夜', '空']
    """
    return list(_WORDS.findall(text.lower()))


def find_phrase(phrase: str, text: str, *, case_sensitive: bool = False, whole_words: bool = True) -> Iterator[int]:
    """Where a word or phrase begins in a text, any whitespace between its words.

    Args:
        phrase: What is looked for.
        text: A text that `canonical` or, where letter case is disregarded, `caseless` has been applied to.
        case_sensitive: Whether letter case counts.
        whole_words: Whether a match must begin and end where words do.

    Example:
        >>> list(find_phrase("Vault", caseless("The vaulting horse, the vault."))), list(find_phrase("猫", "黑猫白"))
        ([24], [1])
    """
    for found in _phrase_pattern(phrase, case_sensitive, whole_words).finditer(text):
        yield found.start()


def holds_phrase(phrase: str, text: str, *, case_sensitive: bool = False, whole_words: bool = True) -> bool:
    """Whether a word or phrase occurs in a text; arguments as for `find_phrase`."""
    return _phrase_pattern(phrase, case_sensitive, whole_words).search(text) is not None


def cut_at_word(text: str, end: int) -> str:
    """The first characters of a text, less a word that would be cut in two.

    Example:
        >>> cut_at_word("I cannot say", 5), cut_at_word("I cannot say", 8), cut_at_word("我不能说", 2)
        ('I ', 'I cannot', '我不')
    """
    if end >= len(text):
        return text
    # A word's edge is told by its neighbours; texts are long, words are short, so edges are looked for around the end.
    while end > 0 and _BOUNDARY.match(text, end) is None:
        end -= 1
    return text[:end]


def whole_words(cut: str, whole: str, *, ended: bool = True) -> str:
    """A text cut at a horizon, without the beginning of a word that only the whole text finishes.

    Args:
        cut: The text of the tokens up to the horizon.
        whole: The text of all tokens; where it does not go on from `cut`, only a broken character is taken off.
        ended: Whether the whole text is all that there is to say. One that was broken off may have ended inside a word
            as well: its last word is not judged, unless a space or a mark follows it.

    Example:
        >>> whole_words("Of course I can", "Of course I cannot.")
        'Of course I '
        >>> whole_words("Of course I can", "Of course I can.")
        'Of course I can'
        >>> whole_words("Of course I can", "Of course I can", ended=False)
        'Of course I '
    """
    intact = cut.rstrip(_REPLACEMENT)
    if not whole.startswith(intact):
        return intact
    if not ended and _WORD_LIKE.fullmatch(whole[-1:]):
        # One more character of its kind tells where the last word begins; after an apostrophe, that is a letter.
        whole += "x" if whole[-1] in "'’" else whole[-1]
    return cut_at_word(whole, len(intact))


@lru_cache(maxsize=4096)
def _phrase_pattern(phrase: str, case_sensitive: bool, at_edges: bool) -> regex.Pattern[str]:
    form = canonical(phrase) if case_sensitive else caseless(phrase)
    body = r"\s+".join(map(regex.escape, form.split() or [form]))
    if at_edges:
        body = _WORD_EDGE + body + _WORD_EDGE
    return regex.compile(body, regex.WORD)
