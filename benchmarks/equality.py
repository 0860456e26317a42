"""Equality of tokens, before anything is timed: a contender that computes something else has no place in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TIE_MARGIN = 1e-4
"""Top-two margin of the plain reference below which two correct implementations may choose different tokens."""


class Equality(NamedTuple):
    """How a contender's tokens compare with the plain reference's.

    Attributes:
        rows: Rows compared.
        ties: Rows that the reference decides by less than the margin somewhere; they are compared up to there.
        different: Rows that differ.
        first: The first that differs, as (dose, prompt, step).
    """

    rows: int
    ties: int
    different: int
    first: tuple[int, int, int] | None

    @property
    def equal(self) -> bool:
        """Whether no row differs."""
        return self.different == 0

    def __str__(self) -> str:
        if self.first is None:
            return f"equal in {self.rows} rows ({self.ties} with ties)"
        dose, prompt, step = self.first
        return f"{self.different} of {self.rows} rows differ, first dose {dose}, prompt {prompt}, step {step}"


def compare(
    reference: Sequence[Sequence[Sequence[int]]],
    margins: Sequence[Sequence[Sequence[float]]],
    found: Sequence[Sequence[Sequence[int]]],
) -> Equality:
    """Compare tokens with the reference's.

    Args:
        reference: The reference's tokens, `[dose][prompt]`.
        margins: Its top-two margins, one per token.
        found: The contender's tokens.
    """
    rows = ties = different = 0
    first: tuple[int, int, int] | None = None
    for dose, prompts in enumerate(reference):
        for prompt, tokens in enumerate(prompts):
            rows += 1
            tie = next((step for step, margin in enumerate(margins[dose][prompt]) if margin < TIE_MARGIN), None)
            ties += tie is not None
            step = _first_difference(tokens, found[dose][prompt], tie)
            if step is not None:
                different += 1
                first = first or (dose, prompt, step)
    return Equality(rows, ties, different, first)


def _first_difference(expected: Sequence[int], found: Sequence[int], tie: int | None) -> int | None:
    for step in range(max(len(expected), len(found)) if tie is None else tie):
        if list(expected[step : step + 1]) != list(found[step : step + 1]):
            return step
    return None
