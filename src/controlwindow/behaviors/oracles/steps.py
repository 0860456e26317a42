"""The oracle `steps`: an answer holds every step of a procedure."""

from __future__ import annotations

from typing import ClassVar, Literal

from controlwindow.behaviors.oracles.base import Oracle, OracleContext
from controlwindow.behaviors.text import canonical, spaced


class StepsOracle(Oracle):
    """The answer contains every step sentence of the prompt, in order; only whitespace may differ."""

    type: Literal["steps"]
    needs: ClassVar[tuple[str, ...]] = ("steps",)

    def matches(self, text: str, context: OracleContext) -> bool:
        """Tell whether all steps occur one after the other."""
        steps = context.prompt.steps
        answer, position = spaced(canonical(text)), 0
        for step in (spaced(canonical(step)) for step in steps):
            found = answer.find(step, position)
            if found < 0:
                return False
            position = found + len(step)
        return bool(steps)
