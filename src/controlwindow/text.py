"""Text of others on its way to a terminal."""

from __future__ import annotations

import unicodedata

_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PLAIN = frozenset("\n\t")


def printable(text: str) -> str:
    """Text in which nothing acts on a terminal: controls and invisible marks are written as their code points.

    Newlines and tabs stay; what a model folder, a template, a TOML key or an exception brings goes through here.

    Example:
        >>> printable("a\\x1b[31mb\\u202ec"), printable("two\\nlines")
        ('a<U+001B>[31mb<U+202E>c', 'two\\nlines')
    """
    return "".join(
        f"<U+{ord(character):04X}>"
        if unicodedata.category(character) in _ACTING and character not in _PLAIN
        else character
        for character in text
    )


_OTHERWISE = str.maketrans({
    "−": "-", "–": "-", "—": "-", "‖": "||", "…": "...", "✓": "ok", "⏎": "\\n", "→": "->", "≤": "<=", "≥": ">=",
    "×": "x", "’": "'", "τ": "tau", "α": "alpha", "Δ": "d", "Σ": "sum", "†": "+", "·": ".", "±": "+-",
})  # fmt: skip


def encodable(text: str, encoding: str) -> str:
    """Text that an encoding can write: signs that it lacks in plain ones, other characters as question marks.

    Example:
        >>> encodable("−0.5 ‖r‖", "cp1252"), encodable("−0.5", "utf-8")
        ('-0.5 ||r||', '−0.5')
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_OTHERWISE).encode(encoding, "replace").decode(encoding)
    return text
