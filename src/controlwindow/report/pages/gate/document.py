"""What all outputs of a gate are made of, checked, with every field marked by what it is.

Page, JSON, SARIF, JUnit XML and the block for a model card read this document after one walk has withheld what names a
neuron (`report/sharing`), so that none of them can say more than the page. Screens, sizes and seeds draw the tested
neurons again, and a digest of few possible values is the value: both are withheld with the neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from controlwindow.report.marks import (
    COARSE_STEP,
    Coordinate,
    Coordinates,
    Count,
    Document,
    Exact,
    Interval,
    Layer,
    Mark,
    Part,
    Place,
    Prose,
    Region,
    Share,
    ShareInterval,
    Withheld,
    checked,
)

SCHEMA_VERSION: Literal[1] = 1

Verdict = Literal["pass", "fail", "unjudged"]
Status = Literal["pass", "fail", "unjudged", "warn"]
Action = Literal["fail", "unjudged", "warn", "allow"]
Rule = Literal[
    "open_window", "undecided_window", "actionable", "trigger", "height", "circuit", "direction", "eligible",
    "open_rate_bound", "screen_recall", "opened", "moved",
]  # fmt: skip
Hidden = Annotated[str | None, Mark.EXACT]
Difference = Annotated[float, Field(ge=-1.0, le=1.0)]


class ModelPart(Part):
    """The model that was gated."""

    name: Place
    source: Place
    fingerprint: str
    family: str
    layers: Annotated[int, Field(ge=1)]
    neurons_total: Count
    d_model: Count
    dtype: str
    chat_template: str | None = None
    system_prompt: Annotated[str | None, Mark.PROSE] = None
    thinking: str = "not supported"
    organism: bool = False


class BehaviorPart(Part):
    """One behavior, and what of it was measured; `n_eligible` None where it could not be audited."""

    name: str
    sensitive: bool
    status: Status
    tested: Count
    open: Count
    n_eligible: Count | None
    prompts: Count


class Check(Part):
    """One rule of the policy for one behavior.

    Attributes:
        broken: Windows or comparisons that break it, of `of`.
        share: A measured share, of `n`, with its 95 % interval.
        limit: What the policy allows.
        power: What the audit can see, by which screens and sizes follow.
        note: Why it could not be judged or compared.
    """

    rule: Rule
    behavior: str
    status: Status
    action: Action
    limit: float | None = None
    broken: Count | None = None
    of: Count | None = None
    share: Share | None = None
    interval: ShareInterval | None = None
    n: Count | None = None
    power: Exact = None
    power_interval: Annotated[ShareInterval | None, Mark.EXACT] = None
    power_n: Annotated[int | None, Mark.EXACT] = None
    note: Annotated[str | None, Mark.PROSE] = None


class Finding(Part):
    """What broke a rule: a window, or `what` of a circuit or a direction at its strength."""

    rule: Rule
    behavior: str
    status: Status
    what: str | None = None
    neuron: Annotated[str | None, Mark.NEURON] = None
    branch: Literal[1, -1] | None = None
    layer: Layer = None
    region: Region = None
    candidate_from: Annotated[str | None, Mark.SOURCE] = None
    verdict: Literal["open", "closed"] | None = None
    verdict_probability: Share | None = None
    decided: bool | None = None
    trigger: Coordinate = None
    trigger_interval: Interval = None
    ceiling: Coordinate = None
    ceiling_interval: Interval = None
    height: Share | None = None
    height_interval: ShareInterval | None = None
    actionable: Coordinates = {}
    strength: Exact = None
    p_holm: Share | None = None
    withheld: Withheld = False


class Change(Part):
    """One window before and now; differences are now less before, `p_holm` is adjusted over all `comparisons`."""

    behavior: str
    neuron: Annotated[str, Mark.NEURON]
    branch: Literal[1, -1]
    layer: Layer = None
    region: Region = None
    was: Literal["open", "closed"]
    now: Literal["open", "closed"]
    change: Literal["opened", "closed", "moved", "same", "unclear"]
    measure: Literal["height", "trigger"]
    n: Count
    height_before: Share | None = None
    height_now: Share | None = None
    height_difference: Difference | None = None
    height_interval: tuple[Difference, Difference] | None = None
    trigger_before: Coordinate = None
    trigger_now: Coordinate = None
    trigger_difference: Coordinate = None
    trigger_interval: Interval = None
    p: Share
    p_holm: Share
    comparisons: Count
    withheld: Withheld = False


class Missing(Part):
    """Why a behavior could not be compared."""

    behavior: str
    note: Prose


class BaselinePart(Part):
    """What the model was held against."""

    kind: Literal["model", "run"]
    name: Place
    fingerprint: str
    missing: tuple[Missing, ...] = ()


class Input(Part):
    """A digest of something that went in."""

    what: str
    name: Place
    digest: str


class Commitment(Part):
    """A digest that would name neurons to whoever tries all it could be of, and a salted one in its place."""

    what: str
    digest: Hidden
    commitment: str


class GateDocument(Document):
    """Everything a gate says."""

    kind = "gate"

    schema_version: Literal[1] = SCHEMA_VERSION
    run: Hidden
    verdict: Verdict
    warnings: Count
    exit_code: Literal[0, 1, 2]
    statement: str
    model: ModelPart
    policy_file: Place
    behaviors: Annotated[tuple[BehaviorPart, ...], Field(min_length=1)]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...] = ()
    baseline: BaselinePart | None = None
    changes: tuple[Change, ...] = ()
    audit: Annotated[dict[str, JsonValue], Mark.EXACT] = {}
    inputs: tuple[Input, ...]
    commitments: tuple[Commitment, ...]
    versions: dict[str, str]
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior on a model that is no organism."""
        if self.model.organism:
            return False
        sensitive = {behavior.name for behavior in self.behaviors if behavior.sensitive}
        if isinstance(part, Check | Finding | Change):
            return part.behavior in sensitive
        return bool(sensitive) if part is self or isinstance(part, Commitment) else None

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.model.layers

    def in_order(self, names: Sequence[str]) -> Sequence[str]:
        """As the page shows them: those that broke something first, the lowest trigger before the others."""
        places = {name: place for place, name in enumerate(names)}
        triggers: dict[str, float] = {}
        for finding in self.findings:
            if finding.neuron in places:
                trigger = 2.0 if finding.trigger is None else finding.trigger
                triggers[finding.neuron] = min(trigger, triggers.get(finding.neuron, 3.0))
        return sorted(names, key=lambda name: (triggers.get(name, 3.0), places[name]))

    def bare(self) -> GateDocument:
        """In an order that follows from what is shown: the order of candidates says which screen named one."""
        return self.model_copy(
            update={
                "findings": tuple(sorted(self.findings, key=_finding_key)),
                "changes": tuple(sorted(self.changes, key=_change_key)),
            }
        )

    def of(self, behavior: str) -> tuple[Check, ...]:
        """The checks of one behavior."""
        return tuple(check for check in self.checks if check.behavior == behavior)


def _finding_key(finding: Finding) -> tuple[str, str, float, float, float, int]:
    height = 0.0 if finding.height is None else finding.height
    places = (_step(finding.trigger), _step(finding.ceiling))
    return (finding.behavior, finding.rule, *places, -height, finding.branch or 0)


def _change_key(change: Change) -> tuple[str, str, str, float, float, int]:
    height = 0.0 if change.height_difference is None else change.height_difference
    return (change.behavior, change.change, change.measure, _step(change.trigger_now), -height, change.branch)


def _step(coordinate: float | None) -> float:
    """The step of c that is shown; exact values may not decide an order."""
    return 99.0 if coordinate is None else round(coordinate / COARSE_STEP)


def gate_document(values: Mapping[str, Any]) -> GateDocument:
    """Check plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(GateDocument, values)


def gate_schema() -> dict[str, Any]:
    """JSON schema of `gate.json`, as it ships in `gate.schema.json`."""
    found: dict[str, Any] = _ordered(GateDocument.model_json_schema())
    return found


def _ordered(schema: Any) -> Any:
    """A schema with its choices in one order: `typing` gives equal Literals that of whichever was written first."""
    if isinstance(schema, dict):
        return {key: sorted(v) if key == "enum" else _ordered(v) for key, v in schema.items()}
    return [_ordered(entry) for entry in schema] if isinstance(schema, list) else schema
