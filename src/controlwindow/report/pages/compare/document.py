"""What a comparison's page and tables are drawn from: the values that `results --json` prints, checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from controlwindow.interventions.comparison import Comparison, Difference, Estimate, LevelResult
from controlwindow.report.marks import Count, Document, Exact, Mark, Part, Place, Seed, Share, Withheld, checked

Label = Annotated[str, Mark.NAMED]


class EstimateRow(Part):
    """A mean over prompts with its 95 % interval."""

    value: float
    low: float
    high: float
    n: Count


class LevelRow(Part):
    """One method at one level of the behavior."""

    arm: Label
    method: str
    kind: str
    neuron: Annotated[str | None, Mark.NEURON]
    level: Share
    matched: bool
    sign: Annotated[int | None, Mark.EXACT]
    layer: Annotated[int | None, Mark.EXACT]
    multiple: Annotated[int | None, Mark.EXACT]
    strength: Exact
    raw: Exact
    select_rate: Share
    select_n: Count
    highest: Share
    level_covered: bool | None
    metrics: dict[str, EstimateRow]
    outcomes: dict[str, dict[str, Share]]


class DifferenceRow(Part):
    """A neuron method less a residual baseline at a level that both match."""

    level: Share
    arm: Label
    baseline: str
    metric: str
    value: float
    low: float
    high: float
    p: Share
    p_holm: Share
    n: Count


class ComparisonDocument(Document):
    """Everything that a comparison's page shows.

    `sensitive` and `organism` are the run's; the values that are printed do not hold them.
    """

    kind = "comparison"

    model: Place
    behavior: str
    levels: tuple[Share, ...]
    n_evaluate: Count
    n_select: Count
    results: tuple[LevelRow, ...]
    differences: tuple[DifferenceRow, ...]
    curves: Annotated[dict[str, tuple[tuple[float, float, float], ...]], Mark.EXACT] = {}
    notes: Annotated[tuple[str, ...], Mark.NAMED]
    seed: Seed
    sensitive: bool = Field(default=False, exclude=True)
    organism: bool = Field(default=False, exclude=True)
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether the behavior is sensitive and the model no organism."""
        return self.sensitive and not self.organism

    def layers_of(self, part: Part) -> int:
        """No part says where it lies."""
        raise NotImplementedError

    def comparison(self) -> Comparison:
        """The same as one value, without what estimates are means of."""
        found = self.model_dump(mode="json", exclude={"withheld"})
        return Comparison(
            **{
                **found,
                "levels": tuple(found["levels"]),
                "results": tuple(_level_result(row) for row in found["results"]),
                "differences": tuple(Difference(**row) for row in found["differences"]),
                "curves": {name: [tuple(point) for point in curve] for name, curve in found["curves"].items()},
                "notes": tuple(found["notes"]),
            }
        )


def comparison_document(comparison: Comparison, *, sensitive: bool, organism: bool) -> ComparisonDocument:
    """Check a comparison and freeze it.

    Args:
        comparison: The comparison.
        sensitive: Whether its behavior is.
        organism: Whether its model is one.

    Raises:
        ReportError: A value is missing or wrong; the message names its path.
    """
    return checked(ComparisonDocument, {**comparison.to_json(), "sensitive": sensitive, "organism": organism})


def _level_result(row: dict[str, Any]) -> LevelResult:
    return LevelResult(**{**row, "metrics": {name: Estimate(**found) for name, found in row["metrics"].items()}})
