"""What a report is made of: plain, checked values, so that a page can be drawn again without the model.

Every coordinate is a cosine c, every dose t is in budget units on its branch, and `None` stands for "not reached"
where a threshold is meant and for "not measured or withheld" elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from controlwindow.instruments.operations import Positions
from controlwindow.report.judged import Coherence, CorrectedShare, JudgeUse, OracleFigures
from controlwindow.report.marks import (
    COARSE_STEP,
    Coordinate,
    Cosine,
    CosineInterval,
    Count,
    Document,
    Exact,
    Interval,
    Layer,
    Mark,
    NeuronName,
    Notes,
    Part,
    Place,
    Prose,
    Region,
    Run,
    Seed,
    Settings,
    Share,
    ShareInterval,
    Withheld,
    checked,
)
from controlwindow.report.pages.audit.coverage import Coverage

CandidateSource = Literal["planted", "screen", "random", "named", "withheld"]
FailureMode = Literal["normalization_cap", "too_late", "collapse_before_trigger", "no_effect"]
BudgetKind = Literal["plain", "capped", "routed"]
Branch = Literal[1, -1]


class ModelSummary(Part):
    """The audited model as it was run; `organism` marks models whose controllers are known by construction."""

    name: Place
    source: Place
    fingerprint: str
    family: str
    layers: Annotated[int, Field(ge=1)]
    neurons_total: Annotated[int, Field(ge=1)]
    d_model: Annotated[int, Field(ge=1)]
    dtype: str
    chat_template: str | None = None
    system_prompt: Annotated[str | None, Mark.PROSE] = None
    thinking: str = "not supported"
    organism: bool = False


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
    """A behavior as it was judged. `outcomes` is ordered, first match wins; `invented`: its secrets are."""

    name: str
    description: Prose = ""
    sensitive: bool = False
    invented: bool = False
    languages: tuple[str, ...] = ()
    horizons: Annotated[tuple[int, ...], Field(min_length=1)]
    outcomes: Annotated[tuple[str, ...], Field(min_length=2)]
    source_outcome: str
    target_outcomes: Annotated[tuple[str, ...], Field(min_length=1)]
    threshold: Share = 0.5
    positions: Positions = "all"
    prompts: PromptCounts
    split_fingerprints: dict[str, str] = {}
    judges: tuple[JudgeUse, ...] = ()
    figures: tuple[OracleFigures, ...] = ()

    @model_validator(mode="after")
    def _outcomes_are_listed(self) -> BehaviorSummary:
        missing = {self.source_outcome, *self.target_outcomes} - set(self.outcomes)
        if missing:
            raise ValueError(f"outcomes of behavior {self.name!r} lack {sorted(missing)}")
        return self


class Predictions(Part):
    """The ceiling predictors: the default, whether it was fitted on this very model, and in what it is unlike those."""

    default: str
    names: tuple[str, ...]
    in_sample: bool
    committed_before_rollouts: bool
    unlike: tuple[str, ...] = ()


class DoseRow(Part):
    """Outcome shares at one dose; `shares` is {horizon: {outcome: share}}, `c_measured` the cosine found at work."""

    t: Exact
    c: Annotated[Cosine, Mark.COORDINATE]
    c_measured: Annotated[Cosine | None, Mark.EXACT] = None
    c_measured_interval: Annotated[CosineInterval | None, Mark.EXACT] = None
    n: Count
    collapsed: Share
    shares: dict[str, dict[str, Share]]
    target_interval: ShareInterval | None = None

    def bare(self) -> DoseRow:
        """Without the undosed cosine, which is each neuron's own."""
        return self.model_copy(update={"c": 0.0}) if self.t == 0 else self


class ScreenRank(Part):
    """The neuron's place in one screen."""

    screen: str
    rank: Annotated[Count | None, Mark.EXACT]
    of: Count
    score: Exact = None


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

    t: Exact
    c: Annotated[Cosine, Mark.COORDINATE]
    outcome: str
    prompt: Prose
    text: Annotated[str | None, Mark.COMPLETION]

    def bare(self) -> Sample:
        """Without the undosed cosine, which is each neuron's own."""
        return self.model_copy(update={"c": 0.0}) if self.t == 0 else self


class Panel(Part):
    """What is known about the neuron itself; `dose_multiple` is the trigger dose over its natural range."""

    ranks: tuple[ScreenRank, ...] = ()
    activation: Annotated[tuple[ActivationRange, ...], Mark.EXACT] = ()
    dose_multiple: Exact = None
    top_tokens: Annotated[tuple[TokenLogit, ...], Mark.EXACT] = ()
    bottom_tokens: Annotated[tuple[TokenLogit, ...], Mark.EXACT] = ()
    samples: tuple[Sample, ...] = ()


class WindowResult(Part):
    """One neuron on one branch for one behavior: [trigger, ceiling) with intervals, verdict and evidence.

    `layer` is None and `region` set when the neuron's identity is withheld; `neuron` is then a pseudonym. `plateau` is
    set under a norm after the FFN alone; `ceiling_reachable` False says that the predicted ceiling lies at or above it.
    """

    neuron: NeuronName
    layer: Layer
    behavior: str
    branch: Branch
    candidate_from: Annotated[CandidateSource, Mark.SOURCE]
    trigger: Coordinate
    trigger_interval: Interval = None
    trigger_t: Exact = None
    ceiling: Coordinate
    ceiling_interval: Interval = None
    ceiling_t: Exact = None
    ceiling_predicted: Annotated[Cosine | None, Mark.EXACT] = None
    ceiling_predicted_interval: Annotated[CosineInterval | None, Mark.EXACT] = None
    predictions: Annotated[dict[str, Cosine | None], Mark.EXACT] = {}
    height: Share | None = None
    height_interval: ShareInterval | None = None
    verdict: Literal["open", "closed"]
    verdict_probability: Share | None = None
    decided: bool
    failure_mode: FailureMode | None = None
    propagation: Exact = None
    n_eligible: Count
    c0: Annotated[Cosine | None, Mark.EXACT] = None
    budget: Exact = None
    residual_norm: Exact = None
    write_norm: Exact = None
    triggers_by_outcome: Annotated[dict[str, dict[str, Cosine | None]], Mark.COORDINATE] = {}
    outcomes: dict[str, dict[str, Share]] = {}
    outcomes_at: Coordinate = None
    corrected: tuple[CorrectedShare, ...] = ()
    sampled: dict[str, Share] = {}
    budget_kind: BudgetKind = "plain"
    plateau: Annotated[Cosine | None, Mark.EXACT] = None
    routed_share: Annotated[Share | None, Mark.EXACT] = None
    ceiling_reachable: Annotated[bool | None, Mark.EXACT] = None
    injected_trigger: Coordinate = None
    curve: Annotated[dict[str, str | float] | None, Mark.EXACT] = None
    float32_check: Literal["held", "changed"] | None = None
    doses: tuple[DoseRow, ...] = ()
    panel: Panel | None = None
    region: Region = None
    withheld: Withheld = False

    @model_validator(mode="after")
    def _open_has_a_trigger(self) -> WindowResult:
        if self.verdict == "open" and self.trigger is None:
            raise ValueError(f"{self.neuron} is open for {self.behavior!r} but has no trigger")
        return self

    def bare(self) -> WindowResult:
        """Doses that round to one c as one, and none under a norm that caps c: their end tells the plateau."""
        if self.plateau is not None:
            panel = None if self.panel is None else self.panel.model_copy(update={"samples": ()})
            return self.model_copy(update={"doses": (), "panel": panel})
        doses: dict[int, DoseRow] = {}
        for dose in self.doses:
            # The first of those measured on most prompts is shown.
            place = round(dose.bare().c / COARSE_STEP)
            if place not in doses or dose.n > doses[place].n:
                doses[place] = dose
        return self.model_copy(update={"doses": tuple(doses.values())})


class ReportDocument(Document):
    """Everything a report shows."""

    kind = "audit"

    run: Run
    model: ModelSummary
    versions: dict[str, str]
    seed: Seed
    configuration: Settings = {}
    operations: tuple[str, ...] = ("add",)
    coverage: Coverage
    coherence: Coherence
    generic: Generic
    behaviors: Annotated[tuple[BehaviorSummary, ...], Field(min_length=1)]
    predictions: Predictions
    windows: tuple[WindowResult, ...] = ()
    notes: Notes = ()
    withheld: Withheld = False

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

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior on a model that is no organism."""
        if self.model.organism:
            return False
        sensitive = {behavior.name for behavior in self.behaviors if behavior.sensitive}
        if isinstance(part, WindowResult):
            return part.behavior in sensitive
        return bool(sensitive) if part is self else None

    def private(self, part: Part) -> bool | None:
        """Whether a window's completions are of a sensitive behavior, and not of one whose secrets are invented."""
        private = {behavior.name for behavior in self.behaviors if behavior.sensitive and not behavior.invented}
        return part.behavior in private if isinstance(part, WindowResult) else None

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.model.layers

    def in_order(self, names: Sequence[str]) -> Sequence[str]:
        """As the page shows them, open windows first."""
        places = {name: place for place, name in enumerate(names)}
        shown = sorted((window for window in self.windows if window.neuron in places), key=_reading_key)
        return sorted(names, key=lambda name: (min(i for i, w in enumerate(shown) if w.neuron == name), places[name]))


def _reading_key(window: WindowResult) -> tuple[bool, float, float]:
    return (
        window.verdict != "open",
        2.0 if window.trigger is None else window.trigger,
        2.0 if window.ceiling is None else window.ceiling,
    )


def load_document(values: Mapping[str, Any]) -> ReportDocument:
    """Check nested plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(ReportDocument, values)
