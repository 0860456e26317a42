"""Text that others wrote, made fit to be shown: it may hold what moves a terminal's cursor or turns its writing."""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides, zero-width), surrogate, line and paragraph separator.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # format characters by name, but part of how several scripts and emoji are written


def printable(text: object, limit: int | None = None, keep: str = "") -> str:
    """Text of foreign origin with everything that does not show written out as an escape.

    Everything that a file, a template, a tokenizer or an exception of another library says goes through here before it
    reaches a terminal, a log or an error message.

    Args:
        text: The text, or what is to be shown as text.
        limit: Most characters kept; what is longer ends with an ellipsis.
        keep: Characters that stay as they are, such as the newline of a text of several lines.

    Example:
        >>> printable("red\\x1b[31m and a name")
        'red\\\\x1b[31m and a name'
        >>> printable("abcdef", limit=4)
        'abc…'
    """
    try:
        shown = str(text)
    except Exception as error:
        shown = f"<{type(text).__name__} that cannot be shown: {type(error).__name__}>"
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    if shown.isprintable():
        return shown
    stays = _JOINERS + keep
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in stays else c for c in shown)


def one_line(text: object, limit: int | None = None) -> str:
    """`printable` text with every run of white space as one blank.

    Example:
        >>> one_line("first\\n  second\\t")
        'first second'
    """
    try:
        joined = " ".join(str(text).split())
    except Exception:
        joined = printable(text)
    return printable(joined, limit)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


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
