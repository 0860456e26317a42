"""The plan of windows of residual vectors, committed before anything is measured."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from controlwindow.runs.plan import BehaviorReference, ModelPlan
from controlwindow.runs.session import CHUNK_ROWS


class VectorReference(BaseModel):
    """A vector as planned: its name, its layer, and the hash of its values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layer: int
    sha256: str


class VectorsPlan(ModelPlan):
    """What is measured.

    Attributes:
        behaviors: The behaviors.
        vectors: The vectors.
        chunk_rows: Most rows of a chunk.
    """

    kind: ClassVar[str] = "vectors"

    behaviors: Annotated[tuple[BehaviorReference, ...], Field(min_length=1)]
    vectors: Annotated[tuple[VectorReference, ...], Field(min_length=1)]
    chunk_rows: int = CHUNK_ROWS
