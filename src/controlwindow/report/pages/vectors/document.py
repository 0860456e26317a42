"""Windows of residual vectors, checked; a vector of a sensitive behavior is withheld as a neuron would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from controlwindow.report.marks import (
    Coordinate,
    Cosine,
    CosineInterval,
    Count,
    Document,
    Exact,
    Interval,
    Layer,
    Mark,
    Part,
    Place,
    Region,
    Share,
    ShareInterval,
    Withheld,
    checked,
)

Hidden = Annotated[str | None, Mark.EXACT]


class VectorWindow(Part):
    """One vector on one branch for one behavior; cosines, and t in budget units."""

    vector: Hidden
    layer: Layer
    region: Region = None
    behavior: str
    branch: Literal[1, -1]
    trigger: Coordinate
    trigger_interval: Interval
    ceiling: Coordinate
    ceiling_interval: Interval
    ceiling_predicted: Annotated[Cosine | None, Mark.EXACT]
    ceiling_predicted_interval: Annotated[CosineInterval | None, Mark.EXACT]
    height: Share
    height_interval: ShareInterval
    verdict: Literal["open", "closed"]
    verdict_probability: Share
    decided: bool
    failure_mode: str | None
    outcomes: dict[str, dict[str, Share]]
    outcomes_at: Coordinate
    triggers_by_outcome: Annotated[dict[str, dict[str, Cosine | None]], Mark.COORDINATE]
    n_eligible: Count
    c0: Annotated[Cosine | None, Mark.EXACT]
    trigger_t: Exact
    ceiling_t: Exact
    budget: Exact
    withheld: Withheld = False


class PlannedVector(Part):
    """A vector as it was planned."""

    name: str
    layer: int
    sha256: str


class VectorsDocument(Document):
    """All windows of a run."""

    kind = "vectors"

    run: Hidden
    model: Place
    fingerprint: str
    finished: bool
    organism: bool
    layers: Count
    sensitive: tuple[str, ...]
    vectors: Annotated[tuple[PlannedVector, ...], Mark.EXACT] = ()
    windows: tuple[VectorWindow, ...]
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior on a model that is no organism."""
        if self.organism:
            return False
        if isinstance(part, VectorWindow):
            return part.behavior in self.sensitive
        return bool(self.sensitive) if part is self else None

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.layers


def vectors_document(values: Mapping[str, Any]) -> VectorsDocument:
    """Check plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(VectorsDocument, values)
