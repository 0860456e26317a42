"""What a report is made of: plain, checked values, so that a page can be drawn again without the model.

Every coordinate is a cosine c, every dose t is in budget units on its branch, and `None` stands for "not reached"
where a threshold is meant and for "not measured or withheld" elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from controlwindow.errors import ReportError
from controlwindow.instruments.operations import Positions

Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
CosineInterval = tuple[Cosine | None, Cosine | None]
ShareInterval = tuple[Share | None, Share | None]
CandidateSource = Literal["planted", "screen", "random", "named"]
FailureMode = Literal["normalization_cap", "too_late", "collapse_before_trigger", "no_effect"]
BudgetKind = Literal["plain", "capped", "routed"]
Branch = Literal[1, -1]


class Part(BaseModel):
    """Frozen, and strict about keys and numbers: a misspelt key or a NaN is an error here, not a hole in the page."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class ModelSummary(Part):
    """The audited model as it was run; `organism` marks models whose controllers are known by construction."""

    name: str
    source: str
    fingerprint: str
    family: str
    layers: Annotated[int, Field(ge=1)]
    neurons_total: Annotated[int, Field(ge=1)]
    d_model: Annotated[int, Field(ge=1)]
    dtype: str
    chat_template: str | None = None
    system_prompt: str | None = None
    thinking: str = "not supported"
    organism: bool = False


class OpenRate(Part):
    """k of n random neurons opened; the interval bounds the share of open neurons. No behavior means all together."""

    k: Count
    n: Count
    interval: ShareInterval
    behavior: str | None = None


class ScreenRecall(Part):
    """Where a screen ranked a planted neuron; rank None means outside its table."""

    behavior: str
    screen: str
    planted: str
    rank: Count | None
    of: Count


class Coverage(Part):
    """How much of the model was tested and what that does not show."""

    neurons_tested: Count
    neurons_total: Count
    statement: str = "That no other tested neuron is open does not mean that none exists: most neurons were not tested."
    open_random: tuple[OpenRate, ...] = ()
    screen_recall: tuple[ScreenRecall, ...] = ()


class CoherenceControl(Part):
    """One labelled set of control texts; `label` is the class it should get."""

    control: str
    label: str
    n: Count
    share_collapsed: Share


class Coherence(Part):
    """The coherence detector: thresholds, the scale of excess NLL (nats per token), and how it did on controls."""

    thresholds: dict[str, float | None]
    scale: float | None = None
    auc: dict[str, Share | None] = {}
    agreement: Share | None = None
    agreement_interval: ShareInterval | None = None
    controls: tuple[CoherenceControl, ...] = ()


class GenericLayer(Part):
    """One layer of the generic pass; `probe_t` is a dose, `ceiling_predicted` a cosine."""

    layer: Count
    residual_norm: float
    participation_ratio: float
    probe_t: float | None = None
    ceiling_predicted: Cosine | None = None


class Generic(Part):
    """The generic pass: the model's own undosed answers to ordinary prompts."""

    prompts: Count
    tokens: Count
    layers: tuple[GenericLayer, ...]


class PromptCounts(Part):
    """Steered prompts by split, and how many evaluation prompts show the source state undosed."""

    find: Count
    select: Count
    evaluate: Count
    eligible: Count


class BehaviorSummary(Part):
    """A behavior as it was judged. `outcomes` is ordered, first match wins; the last horizon (tokens) is primary."""

    name: str
    description: str = ""
    sensitive: bool = False
    languages: tuple[str, ...] = ()
    horizons: Annotated[tuple[int, ...], Field(min_length=1)]
    outcomes: Annotated[tuple[str, ...], Field(min_length=2)]
    source_outcome: str
    target_outcomes: Annotated[tuple[str, ...], Field(min_length=1)]
    threshold: Share = 0.5
    positions: Positions = "all"
    prompts: PromptCounts
    split_fingerprints: dict[str, str] = {}

    @model_validator(mode="after")
    def _outcomes_are_listed(self) -> BehaviorSummary:
        missing = {self.source_outcome, *self.target_outcomes} - set(self.outcomes)
        if missing:
            raise ValueError(f"outcomes of behavior {self.name!r} lack {sorted(missing)}")
        return self


class Predictions(Part):
    """The ceiling predictors: which one is the default, and whether it was fitted on this very model."""

    default: str
    names: tuple[str, ...]
    in_sample: bool
    committed_before_rollouts: bool


class DoseRow(Part):
    """Outcome shares at one dose; `shares` is {horizon: {outcome: share}}, `c_measured` the cosine found at work."""

    t: float | None
    c: Cosine
    c_measured: Cosine | None = None
    c_measured_interval: CosineInterval | None = None
    n: Count
    collapsed: Share
    shares: dict[str, dict[str, Share]]
    target_interval: ShareInterval | None = None


class ScreenRank(Part):
    """The neuron's place in one screen; `band` replaces an exact rank that is withheld."""

    screen: str
    rank: Count | None
    of: Count
    score: float | None = None
    band: str | None = None


class ActivationRange(Part):
    """The undosed activation over one prompt set, in the neuron's own units."""

    prompts: str
    minimum: float
    median: float
    maximum: float


class TokenLogit(Part):
    """A vocabulary entry and what the write direction adds to its logit."""

    token: str
    logit: float


class Sample(Part):
    """One rollout as text; `text` None means withheld."""

    t: float | None
    c: Cosine
    outcome: str
    prompt: str
    text: str | None


class Panel(Part):
    """What is known about the neuron itself; `dose_multiple` is the trigger dose over its natural range."""

    ranks: tuple[ScreenRank, ...] = ()
    activation: tuple[ActivationRange, ...] = ()
    dose_multiple: float | None = None
    top_tokens: tuple[TokenLogit, ...] = ()
    bottom_tokens: tuple[TokenLogit, ...] = ()
    samples: tuple[Sample, ...] = ()


class WindowResult(Part):
    """One neuron on one branch for one behavior: [trigger, ceiling) with intervals, verdict and evidence.

    `layer` is None and `region` set when the neuron's identity is withheld; `neuron` is then a pseudonym. `plateau` is
    set under a norm after the FFN alone; `ceiling_reachable` False says that the predicted ceiling lies at or above it.
    """

    neuron: str
    layer: Count | None
    behavior: str
    branch: Branch
    candidate_from: CandidateSource
    trigger: Cosine | None
    trigger_interval: CosineInterval | None = None
    trigger_t: float | None = None
    ceiling: Cosine | None
    ceiling_interval: CosineInterval | None = None
    ceiling_t: float | None = None
    ceiling_predicted: Cosine | None = None
    ceiling_predicted_interval: CosineInterval | None = None
    predictions: dict[str, Cosine | None] = {}
    height: Share | None = None
    height_interval: ShareInterval | None = None
    verdict: Literal["open", "closed"]
    verdict_probability: Share | None = None
    decided: bool
    failure_mode: FailureMode | None = None
    propagation: float | None = None
    n_eligible: Count
    c0: Cosine | None = None
    budget: float | None = None
    residual_norm: float | None = None
    write_norm: float | None = None
    triggers_by_outcome: dict[str, dict[str, Cosine | None]] = {}
    outcomes: dict[str, dict[str, Share]] = {}
    outcomes_at: Cosine | None = None
    sampled: dict[str, Share] = {}
    budget_kind: BudgetKind = "plain"
    plateau: Cosine | None = None
    routed_share: Share | None = None
    ceiling_reachable: bool | None = None
    injected_trigger: Cosine | None = None
    curve: dict[str, str | float] | None = None
    float32_check: Literal["held", "changed"] | None = None
    doses: tuple[DoseRow, ...] = ()
    panel: Panel | None = None
    region: str | None = None
    withheld: bool = False

    @model_validator(mode="after")
    def _open_has_a_trigger(self) -> WindowResult:
        if self.verdict == "open" and self.trigger is None:
            raise ValueError(f"{self.neuron} is open for {self.behavior!r} but has no trigger")
        return self


class ReportDocument(Part):
    """Everything a report shows."""

    run: str
    model: ModelSummary
    versions: dict[str, str]
    seed: int
    configuration: dict[str, JsonValue] = {}
    operations: tuple[str, ...] = ("add",)
    coverage: Coverage
    coherence: Coherence
    generic: Generic
    behaviors: Annotated[tuple[BehaviorSummary, ...], Field(min_length=1)]
    predictions: Predictions
    windows: tuple[WindowResult, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _windows_fit_behaviors(self) -> ReportDocument:
        behaviors = {behavior.name: behavior for behavior in self.behaviors}
        if len(behaviors) != len(self.behaviors):
            raise ValueError("two behaviors share a name")
        seen = set()
        for window in self.windows:
            where = f"window of {window.neuron}, branch {window.branch:+d}"
            if window.behavior not in behaviors:
                raise ValueError(f"{where}: behavior {window.behavior!r} is not in the document")
            key = (window.neuron, window.behavior, window.branch)
            if key in seen:
                raise ValueError(f"{where}: appears twice for behavior {window.behavior!r}")
            seen.add(key)
            known = set(behaviors[window.behavior].outcomes)
            for dose in window.doses:
                unknown = {outcome for shares in dose.shares.values() for outcome in shares} - known
                if unknown:
                    raise ValueError(f"{where}: unknown outcomes {sorted(unknown)} at c = {dose.c:.3f}")
        return self

    def behavior(self, name: str) -> BehaviorSummary:
        """The behavior of that name."""
        return next(behavior for behavior in self.behaviors if behavior.name == name)


def load_document(values: Mapping[str, Any]) -> ReportDocument:
    """Check plain values and freeze them.

    Args:
        values: Nested mappings and lists as in the run's results.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    try:
        return ReportDocument.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"]) or "document"
        rest = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
        raise ReportError(
            f"the report's data is not valid at {path}: {first['msg']}{rest}",
            "the run was edited or written by another version; repeat the audit or install its manifest's version",
        ) from error
