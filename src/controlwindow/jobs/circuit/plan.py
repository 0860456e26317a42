"""The plan of a circuit run: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from controlwindow.circuits.sweep import LADDER
from controlwindow.runs.plan import BehaviorPlan
from controlwindow.runs.session import CHUNK_ROWS


class CircuitPlan(BehaviorPlan):
    """What a circuit run does.

    Attributes:
        screen: The screen whose top is the circuit.
        top: How much of it, as asked.
        factors: The ladder of strengths.
        seeds: Draws of every control.
        base: The base model's name, if there is one.
        base_source: What it was loaded from; None for a model in hand.
        base_fingerprint: Its weights hash.
        base_note: Why there is none, although the organism's card names one.
        chunk_rows: Most rows of a chunk.
    """

    kind: ClassVar[str] = "circuit"
    undecided: ClassVar[frozenset[str]] = BehaviorPlan.undecided | {"base_source", "base_note"}

    screen: str = "contrastive"
    top: str = "0.1%"
    factors: Annotated[tuple[float, ...], Field(min_length=1)] = LADDER
    seeds: Annotated[int, Field(ge=1)] = 3
    base: str | None = None
    base_source: str | None = None
    base_fingerprint: str | None = None
    base_note: str | None = None
    chunk_rows: int = CHUNK_ROWS
