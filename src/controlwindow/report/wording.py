"""How numbers, verdicts and foreign text are written, the same on the page, in figures and in the terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from controlwindow.report.pages.audit.document import WindowResult

MINUS = "−"
NOT_REACHED = "not reached"
BEYOND = "beyond doses"
"""Of a predicted ceiling: it lies above every dose that is tried."""

REASONS = {
    "collapse_before_trigger": "collapses first",
    "too_late": "too late",
    "normalization_cap": "capped by norm",
    "no_effect": "no effect",
}

SOURCES = {"planted": "planted", "screen": "screen", "random": "random", "named": "named"}


def number(value: float | None, digits: int = 2, missing: str = "–") -> str:
    """A fixed-point number with a true minus sign.

    Example:
        >>> number(-0.456), number(None)
        ('−0.46', '–')
    """
    if value is None:
        return missing
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def quantity(value: float | None, missing: str = "–") -> str:
    """A number of unknown magnitude to three significant digits.

    Example:
        >>> quantity(12345.6), quantity(0.01234), quantity(1.5)
        ('12,346', '0.0123', '1.5')
    """
    if value is None:
        return missing
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", MINUS)


def size_words(count: int | None) -> str:
    """Bytes in words; a dash where they are not known.

    Example:
        >>> size_words(3 << 30), size_words(5 << 20), size_words(None)
        ('3.0 GiB', '5 MiB', '–')
    """
    if count is None:
        return "–"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def coordinate(value: float | None) -> str:
    """A threshold in c, or that it was not reached in the range of doses."""
    return number(value, missing=NOT_REACHED)


def predicted_ceiling(window: WindowResult, missing: str = "–") -> str:
    """The predicted ceiling in c: a dash where nothing is predicted, and in words that it will not be reached."""
    if window.ceiling_reachable is False:
        return BEYOND if window.plateau is None else "capped"
    return number(window.ceiling_predicted, missing=missing)


BUDGETS = {
    "plain": "budget B = ‖r‖ / ‖v‖",
    "capped": "budget B = ‖m‖ / ‖v‖, before the norm",
    "routed": "budget B = ‖r‖ / (w‖v‖), w the router weight",
}


def budget_name(window: WindowResult) -> str:
    """What the neuron's budget compares."""
    return BUDGETS[window.budget_kind]


def budget_parts(window: WindowResult) -> str:
    """The budget and the two norms in it; ‖m‖ and w·‖v‖ follow from the others."""
    if window.budget is None or window.write_norm is None:
        return "–"
    upper, lower = window.residual_norm, window.write_norm
    if window.budget_kind == "capped":
        upper = window.budget * window.write_norm
    elif window.budget_kind == "routed" and window.residual_norm is not None:
        lower = window.residual_norm / window.budget
    return f"{quantity(window.budget)} = {quantity(upper)} / {quantity(lower)}"


_TIERS = {"_0": ", tier 0", "_half": ", tier 1/2", "_1": ", tier 1"}


def predictor_name(name: str) -> str:
    """A ceiling predictor as a reader sees it.

    Example:
        >>> predictor_name("combined_half"), predictor_name("model_median")
        ('combined, tier 1/2', 'model median')
    """
    for suffix, tier in _TIERS.items():
        if name.endswith(suffix):
            return outcome_name(name.removesuffix(suffix)) + tier
    return outcome_name(name)


def percent(value: float | None) -> str:
    """A share as a whole percentage."""
    return "–" if value is None else f"{value:.0%}".replace("%", " %").replace("-", MINUS)


def interval(bounds: tuple[float | None, float | None] | None, brackets: bool = True) -> str:
    """An interval; a bound that was not reached in range is a dash, and an absent interval is empty.

    Example:
        >>> interval((0.18, 0.25)), interval((0.9, None)), interval(None)
        ('[0.18, 0.25]', '[0.90, –]', '')
    """
    if bounds is None:
        return ""
    low, high = number(bounds[0]), number(bounds[1])
    return f"[{low}, {high}]" if brackets else f"{low} to {high}"


def percent_interval(bounds: tuple[float | None, float | None] | None) -> str:
    """An interval of shares."""
    return "" if bounds is None else f"[{percent(bounds[0])}, {percent(bounds[1])}]"


def rate_interval(bounds: tuple[float | None, float | None]) -> str:
    """An interval of shares to a tenth of a percent, for rates near zero."""
    low, high = ("–" if bound is None else f"{100 * bound:.1f}" for bound in bounds)
    return f"[{low}, {high}] %"


def branch_sign(branch: int) -> str:
    """The branch as a typographic sign."""
    return "+" if branch > 0 else MINUS


def verdict(window: WindowResult) -> str:
    """The verdict, with a mark when the bootstrap does not decide it."""
    return window.verdict if window.decided else f"{window.verdict}, undecided"


def reason(window: WindowResult) -> str:
    """Why a window is closed, in words, and whether the verdict is undecided; empty for a decided open one."""
    words = [] if window.failure_mode is None else [REASONS[window.failure_mode]]
    return ", ".join([*words, *([] if window.decided else ["undecided"])])


def probability(value: float | None) -> str:
    """A probability to two digits; a bootstrap never shows certainty.

    Example:
        >>> probability(0.998), probability(0.62), probability(0.0)
        ('>0.99', '0.62', '<0.01')
    """
    if value is None:
        return "–"
    return ">0.99" if value > 0.99 else "<0.01" if value < 0.01 else number(value)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "neuron"), plural(2000, "neuron")
        ('1 neuron', '2,000 neurons')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def outcome_name(outcome: str) -> str:
    """An outcome as a reader sees it."""
    return visible(outcome).replace("_", " ")


def visible(text: str, spaces: bool = False) -> str:
    """Text with everything invisible made visible, so that a page shows what the model wrote and nothing acts.

    Newlines and tabs become arrows; control characters, format characters (bidirectional overrides, zero-width
    marks), private-use and unassigned ones their code points.

    Args:
        text: Text from a model, a tokenizer or a user.
        spaces: Also mark leading and trailing spaces, for tokens.

    Example:
        >>> visible("a\\nb\\x00c\\u202ed")
        'a⏎b<U+0000>c<U+202E>d'
        >>> visible(" the", spaces=True)
        '␣the'
    """
    shown = "".join(_visible_character(character) for character in text)
    if not spaces:
        return shown
    left, right = len(shown) - len(shown.lstrip(" ")), len(shown) - len(shown.rstrip(" "))
    if left == len(shown):
        return "␣" * left
    return "␣" * left + shown.strip(" ") + "␣" * right


def _visible_character(character: str) -> str:
    if character == "\n":
        return "⏎"
    if character == "\t":
        return "⇥"
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return f"<U+{ord(character):04X}>"
    return character


def gathered(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes of several windows that say the same as one note, with what each is of before it."""
    groups: dict[str, list[str]] = {}
    for note in notes:
        where, colon, what = note.partition(": ")
        key, name = (what, where) if colon and len(where) < 80 else (note, "")
        # Decoding ties differ by their count alone.
        count = re.match(r"\d+ ", key)
        if count is not None and name:
            key, name = key[count.end() :], f"{name} ({count[0].strip()})"
        groups.setdefault(key, []).append(name)
    said = [f"{_listed(names)}: {what}" if names[0] else what for what, names in groups.items()]
    # What still differs in numbers and names alone is said once or twice, and how often beside.
    alike: dict[str, list[str]] = {}
    for note in said:
        alike.setdefault(re.sub(r"[A-Z]?\d[\d.,]*", "#", note), []).append(note)
    return tuple(line for notes in alike.values() for line in _shortened(notes))


_LISTED = 12
_ALIKE = 3


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return "; ".join([*names[:_LISTED], f"and {more} more"] if more > 0 else names)


def _shortened(notes: Sequence[str]) -> list[str]:
    if len(notes) <= _ALIKE:
        return list(notes)
    return [*notes[: _ALIKE - 1], f"… and {len(notes) - _ALIKE + 1} more like it."]
