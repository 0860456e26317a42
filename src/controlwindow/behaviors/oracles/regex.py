"""The oracle `regex`: a regular expression is found in an answer."""

from __future__ import annotations

from typing import Literal

from controlwindow.behaviors.oracles.base import Flag, Oracle, OracleContext
from controlwindow.behaviors.patterns import Pattern, find_pattern
from controlwindow.behaviors.text import canonical


class RegexOracle(Oracle):
    """A regular expression is found anywhere in the answer.

    Attributes:
        pattern: Regular expression, as the library `regex` reads it (a superset of Python's own).
        ignore_case: Whether letter case is disregarded.
        present: False inverts the oracle: it matches where the expression is *not* found.
    """

    type: Literal["regex"]
    pattern: Pattern
    ignore_case: Flag = False
    present: Flag = True

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether the expression is found."""
        return find_pattern(self.pattern, canonical(text), ignore_case=self.ignore_case) == self.present
