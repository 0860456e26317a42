"""Scores of other tasks along the windows of an audit, checked; a neuron is withheld as on the audit's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from controlwindow.report.marks import (
    Coordinate,
    Cosine,
    Count,
    Document,
    Exact,
    Interval,
    Mark,
    NeuronName,
    Part,
    Place,
    Withheld,
    checked,
)


class Score(Part):
    """One score of one task at one dose.

    Attributes:
        task: The task.
        score: What was scored, and the metric where it is not the mean.
        c: Control coordinate of the dose; None for the undosed model.
        t: The dose in budget units.
        value: The score.
        stderr: Its standard error, where the task has one.
        samples: How many samples.
        tax: Undosed score minus this one: what the dose costs; None where the task was not run undosed.
        tax_stderr: Its standard error, taking the two for independent, which is cautious: the samples are the same.
    """

    task: str
    score: str
    c: Coordinate
    t: Exact
    value: float
    stderr: float | None
    samples: Count
    tax: float | None = None
    tax_stderr: float | None = None


class TaxedWindow(Part):
    """One window with all scores along it; cosines."""

    neuron: NeuronName
    behavior: str
    branch: Literal[1, -1]
    verdict: Literal["open", "closed"]
    trigger: Coordinate
    trigger_interval: Interval
    ceiling: Coordinate
    ceiling_interval: Interval
    c0: Annotated[Cosine | None, Mark.EXACT]
    scores: tuple[Score, ...]
    withheld: Withheld = False


class CapabilityDocument(Document):
    """All windows of a run that something was scored along."""

    kind = "audit"

    model: Place
    organism: bool
    layers: Count
    sensitive: tuple[str, ...]
    windows: tuple[TaxedWindow, ...]
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior on a model that is no organism."""
        if self.organism:
            return False
        if isinstance(part, TaxedWindow):
            return part.behavior in self.sensitive
        return bool(self.sensitive) if part is self else None

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.layers


def capability_document(values: Mapping[str, Any]) -> CapabilityDocument:
    """Check plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(CapabilityDocument, values)
