"""What passes cost, counted while they run and added up over cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Cost:
    """What some passes cost.

    Attributes:
        forward: Sequences passed forward through the model, or through the part of it above a dosed layer.
        backward: Sequences passed backward.
        tokens: Token positions passed forward; where a part of the model is run, they count in that part.
        scored: Positions whose whole next-token distribution was read, which costs a pass through the readout each.

    Example:
        >>> print(Cost(forward=1200, tokens=30_000.0))
        1,200 forward passes, 30,000 tokens
    """

    forward: int = 0
    backward: int = 0
    tokens: float = 0.0
    scored: int = 0

    def __str__(self) -> str:
        backward = f", {self.backward:,} backward" if self.backward else ""
        return f"{self.forward:,} forward passes{backward}, {self.tokens:,.0f} tokens"

    def plus(self, row: Mapping[str, Any]) -> Cost:
        """With the cost that a cell's row states; this one stays as it is."""
        return Cost(
            self.forward + row["forward"],
            self.backward + row["backward"],
            self.tokens + row["tokens"],
            self.scored + row.get("scored", 0),
        )

    def to_row(self) -> dict[str, float]:
        """As JSON values."""
        return {
            "forward": self.forward,
            "backward": self.backward,
            "tokens": round(self.tokens, 1),
            "scored": self.scored,
        }
