"""What the page of a validation is drawn from, and what `law.json` holds: checked, and withheld pair by pair."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue

from controlwindow.report.marks import (
    Cosine,
    Count,
    Document,
    Exact,
    Interval,
    Mark,
    Part,
    Place,
    Share,
    checked,
)
from controlwindow.report.sharing import shareable
from controlwindow.values import from_table, to_table

Coordinate = Annotated[Cosine | None, Mark.COORDINATE]
Nested = Annotated[dict[str, JsonValue], Mark.COORDINATE]
Gone = Annotated[JsonValue, Mark.EXACT]


class Aim(Part):
    """An aim with what was reported before and what was measured."""

    what: str
    reported: str | None
    aim: str
    measured: float | int | None
    met: bool | None


class Order(Part):
    """What the ledgers prove of the order of events."""

    proved: bool
    models: Count
    forecasts: Count
    problems: Annotated[tuple[str, ...], Mark.PROSE]


class PlannedModel(Part):
    """A model of the plan."""

    name: Place
    fingerprint: str
    lineage: Place
    family: str


class LawPlanned(Part):
    """What was to be measured; digest and seed give the random neurons to whoever has the model."""

    digest: Annotated[str, Mark.RUN]
    sizes: dict[str, JsonValue]
    models: tuple[PlannedModel, ...]

    def bare(self) -> LawPlanned:
        """Without the seed."""
        return self.model_copy(update={"sizes": {**self.sizes, "seed": None}})


class Pair(Part):
    """One measured pair of neuron and branch for one behavior, with its forecast and what its card knows."""

    model: Place
    lineage: Place
    family: str = ""
    width: Count = 0
    layers: Count = 0
    neuron: Annotated[str | None, Mark.EXACT]
    column: Annotated[str | None, Mark.EXACT] = None
    branch: int
    behavior: str
    role: str
    source: Annotated[str, Mark.SOURCE]
    layer: Annotated[Count | None, Mark.LAYER] = None
    depth: Exact = None
    region: str
    curve: Annotated[dict[str, JsonValue], Mark.EXACT] = {}
    c0: Exact = None
    budget: Exact = None
    plateau: Annotated[Cosine | None, Mark.EXACT] = None
    n: Count = 0
    ceiling: Coordinate = None
    ceiling_interval: Interval = None
    ceilings_by_horizon: Nested = {}
    trigger: Coordinate = None
    trigger_interval: Interval = None
    triggers_by_outcome: Nested = {}
    target_trigger: Coordinate = None
    target_height: float | None = None
    target_prompts: Count | None = None
    height: float | None = None
    open: bool = False
    probability_open: float | None = None
    failure_mode: str | None = None
    propagation: Exact = None
    injected_trigger: Coordinate = None
    flip: Gone = None
    behavior_class: JsonValue = None
    answer: Gone = None
    first_order: Annotated[dict[str, JsonValue], Mark.EXACT] = {}
    known: Annotated[dict[str, JsonValue], Mark.EXACT] = {}
    left_out: Annotated[dict[str, JsonValue], Mark.EXACT] = {}


class Thresholds(Part):
    """Trigger and ceiling, measured in some other way."""

    trigger: Coordinate
    ceiling: Coordinate
    dosed: str | None = None
    horizon: Count | None = None


class Detail(Part):
    """How far the thresholds of one pair move with what they could depend on."""

    behavior: str = ""
    neuron: Annotated[str | None, Mark.EXACT] = None
    branch: int | None = None
    source: Annotated[str | None, Mark.SOURCE] = None
    as_planned: Thresholds
    positions: Thresholds
    longer: Thresholds | None
    other_prompts: Thresholds | None = None
    by_severity: Nested


class MeasuredModel(Part):
    """What else was measured of a model."""

    lineage: Place
    family: str
    width: Count
    layers: Count
    fingerprint: str
    behaviors: tuple[str, ...]
    population: Gone = None
    skipped: Annotated[dict[str, JsonValue], Mark.PROSE]
    versions: dict[str, str] | None
    detector: dict[str, JsonValue]
    details: tuple[Detail, ...]
    generic_text: JsonValue
    screens_left_out: Annotated[dict[str, JsonValue], Mark.PROSE]


class LawDocument(Document):
    """Everything that the page of a validation shows, and all that `law.json` holds.

    Attributes:
        secrets: Sensitive behaviors of models that are no organisms, by model; they are not written.
        withheld: Whether pairs are withheld; then scores cannot be taken of the records again.
    """

    kind = "validation"

    held_out_neurons: Count
    lineages: Count
    lineages_scored: Count = 0
    mae_known_models: float | None
    mae_retest: float | None = None
    mae_held_out_lineages: float | None
    skill_vs_median: float | None
    skill_vs_median_interval: tuple[float, float] | None
    skill_vs_constant: float | None
    skill_vs_constant_interval: tuple[float, float] | None
    best_constant: Coordinate = None
    skill_vs_chosen_constant: float | None = None
    skill_vs_chosen_constant_interval: tuple[float, float] | None = None
    verdict_accuracy: Share | None
    majority_accuracy: Share | None
    p_value: Share | None
    best_rival_accuracy: Share | None = None
    failure_mode_accuracy: Share | None
    failure_mode_accuracy_predicted: Share | None = None
    interval_coverage: Share | None
    interval_coverage_left_out: Share | None = None
    history: tuple[dict[str, JsonValue], ...] = ()
    version: Count
    aims: tuple[Aim, ...]
    order: Order
    plan: LawPlanned
    scores: dict[str, JsonValue]
    models: dict[str, MeasuredModel]
    records: tuple[Pair, ...]
    secrets: dict[str, frozenset[str]] = Field(default={}, exclude=True)
    withheld: bool = False

    def secret(self, part: Part) -> bool | None:
        """Whether a part is about a model that is no organism and has a sensitive behavior."""
        if isinstance(part, Pair):
            return part.model in self.secrets
        if isinstance(part, MeasuredModel):
            return any(part is self.models.get(name) for name in self.secrets)
        return bool(self.secrets) if isinstance(part, LawPlanned | Order) else None

    def layers_of(self, part: Part) -> int:
        """A pair says in which part of its model it lies, by the law's own measure."""
        raise NotImplementedError


def shareable_law(values: Mapping[str, Any], secrets: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """A law document without what names neurons of sensitive behaviors on models that are no organisms.

    All pairs of such a model are withheld, since its random neurons are drawn for all its behaviors at once, and their
    order with them.

    Args:
        values: The document as plain values.
        secrets: Sensitive behaviors of models that are no organisms, by model.

    Returns:
        The same values where nothing is to be withheld, else others with `withheld` true.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    records = from_table(values["records"])
    document = checked(LawDocument, {**values, "records": records, "secrets": dict(secrets)})
    if not secrets:
        return dict(values)
    shared = shareable(document).to_json()
    pairs: list[dict[str, Any]] = shared["records"]
    open_ones = [pair for pair in pairs if pair["model"] not in secrets]
    hidden = sorted((pair for pair in pairs if pair["model"] in secrets), key=lambda pair: json.dumps(pair))
    return {**values, **shared, "records": to_table([*open_ones, *hidden]), "withheld": True}
