"""Regular expressions that a file brings: checked when they are read, and never allowed to run for ever.

Some expressions take time exponential in the length of the text, such as `(a|a)*$` on a row of a's. No look at an
expression tells them all, so each search has a limit of time (library `regex`), and each expression is tried once, when
it is read, on short texts made of its own characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated

import regex
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.text import canonical
from controlwindow.errors import BehaviorError

#: Seconds that one search may take; answers are of some hundred characters, on which searches take microseconds.
SEARCH_SECONDS = 2.0
#: Seconds that one trial may take when an expression is read.
TRIAL_SECONDS = 0.5
#: Longest expression accepted: compiling takes time too.
LONGEST = 10_000
#: Largest number of repetitions accepted; they may be nested, and each level multiplies the size.
MOST_REPEATED = 1_000

_TRIAL_LENGTH = 100
_TRIAL_CHARACTERS = 6
_REPEATED = regex.compile(r"\{(\d+)(?:,(\d*))?\}")


def find_pattern(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether an expression is found in a text.

    Args:
        pattern: The expression.
        text: The text, in canonical form.
        ignore_case: Whether letter case is disregarded.

    Raises:
        BehaviorError: The search ran longer than `SEARCH_SECONDS`; names the expression.
    """
    try:
        return compiled(pattern, ignore_case).search(text, timeout=SEARCH_SECONDS) is not None
    except TimeoutError as error:
        raise BehaviorError(
            f"the regular expression {pattern!r} took more than {SEARCH_SECONDS:g} s on a text of {len(text)} "
            "characters",
            "write it without a repetition inside a repetition, or alternatives that match the same text",
        ) from error


@lru_cache(maxsize=512)
def compiled(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    """An expression ready to search with; canonical, as the texts are that it is searched in."""
    return regex.compile(canonical(pattern), regex.IGNORECASE if ignore_case else 0)


def _checked(pattern: str) -> str:
    if len(pattern) > LONGEST:
        raise PydanticCustomError(
            "bad_regex", "a regular expression may have {most} characters, not more", {"most": LONGEST}
        )
    repeated = [int(number) for found in _REPEATED.finditer(pattern) for number in found.groups() if number]
    if any(number > MOST_REPEATED for number in repeated):
        raise PydanticCustomError(
            "bad_regex",
            "a regular expression may repeat something {most} times, not {number}",
            {"most": MOST_REPEATED, "number": max(repeated)},
        )
    try:
        # Without the cache: what a file brings once need not stay.
        expression = regex.compile(canonical(pattern))
    except regex.error as error:
        position, reason = _fault(pattern) or (error.pos, error.msg)
        raise PydanticCustomError(
            "bad_regex",
            "bad regular expression at position {position}: {reason}",
            {"position": position, "reason": reason},
        ) from error
    except (RecursionError, OverflowError, ValueError, MemoryError) as error:
        raise PydanticCustomError(
            "bad_regex", "bad regular expression: {reason}", {"reason": str(error) or type(error).__name__}
        ) from error
    for text in _trials(pattern):
        try:
            expression.search(text, timeout=TRIAL_SECONDS)
        except TimeoutError as error:
            raise PydanticCustomError(
                "slow_regex",
                "this regular expression takes more than {seconds} s on a text of {length} characters, {text}…; write "
                "it without a repetition inside a repetition",
                {"seconds": TRIAL_SECONDS, "length": len(text), "text": repr(text[:4])},
            ) from error
    return pattern


def _fault(pattern: str) -> tuple[int | None, str] | None:
    # Python's own engine points at what was opened and never closed, the other one at the end.
    try:
        re.compile(pattern)
    except re.error as error:
        return error.pos, error.msg
    return None


def _trials(pattern: str) -> Iterator[str]:
    """Rows of what the expression itself speaks of, ended by a character that it probably does not."""
    letters = [character for character in dict.fromkeys(pattern) if character.isalnum() or character == " "]
    for unit in [*letters[:_TRIAL_CHARACTERS], "a", "1", "a ", "ab"]:
        yield (unit * _TRIAL_LENGTH)[:_TRIAL_LENGTH] + "\N{BULLET}"


#: A regular expression in a behavior file.
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_checked)]
