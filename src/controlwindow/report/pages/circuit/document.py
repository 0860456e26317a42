"""What a circuit's page and tables are drawn from: the values that `results --json` prints, checked.

A circuit is the top of a screen, so that screen, size and layers name its neurons to whoever has the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import JsonValue

from controlwindow.report.marks import (
    Count,
    Document,
    Exact,
    Mark,
    NeuronName,
    Part,
    Place,
    Prose,
    Run,
    Seed,
    Share,
    Withheld,
    checked,
)

Hidden = Annotated[str | None, Mark.EXACT]
Ends = tuple[float | None, float | None]


class Estimate(Part):
    """A value with its 95 % interval, and one value for each seed."""

    value: float
    interval: Ends
    n: Count
    by_seed: tuple[float, ...] = ()


class Test(Part):
    """The circuit less a control on the same prompts, corrected over a family (Holm)."""

    value: float
    difference: float
    interval: Ends
    n: Count
    p: Share
    p_holm: Share
    candidates: Count
    seeds: Count
    seeds_below: Count
    factor: float | None = None
    against: str | None = None


class Retention(Part):
    """What undosed answers to generic prompts keep."""

    texts: Count
    excess: Estimate
    perplexity_ratio: Estimate
    agreement: Estimate
    first_agrees: Estimate
    divergence: Estimate


class Quality(Part):
    """Generic prompts answered anew."""

    prompts: Count
    same: Estimate
    common: Estimate
    excess: Estimate
    coherent: Estimate


class Rates(Part):
    """Shares of the eligible prompts, and of every outcome by horizon."""

    n: Count
    flip: Estimate
    source: Estimate
    coherent: Estimate
    outcomes: dict[str, dict[str, Share]]


class Rung(Rates):
    """One arm at one strength."""

    arm: str
    factor: float
    seeds: Count
    retention: Retention | None
    quality: Quality | None
    shift: Estimate | None


class Effect(Part):
    """Shift of the log-odds of one arm, attention free and held."""

    arm: str
    seeds: Count
    shift: Estimate
    held: Estimate | None
    direct_share: float | None


class LayerPart(Part):
    """What one layer's part of the circuit does."""

    layer: Count
    neurons: Count
    share: Share
    alone: Rates | None
    all_but: Rates | None
    random: Rates | None
    test: Test | None


class Member(Part):
    """One neuron of the circuit."""

    neuron: NeuronName
    rank: Count
    score: Exact
    sign: Annotated[int | None, Mark.EXACT]


class DetectionArm(Part):
    """How well an arm's neurons tell X+ from X−, together and one by one."""

    arm: str
    area: Share
    interval: Ends
    areas: Annotated[tuple[Share, ...], Mark.EXACT] = ()
    delta: Annotated[tuple[float, ...], Mark.EXACT] = ()
    positive: Count
    negative: Count


class Detection(Part):
    """Detection of all arms."""

    split: str
    in_sample: bool
    arms: tuple[DetectionArm, ...]


class Overlap(Part):
    """How many neurons two circuits share, and how many circuits drawn at random with the same layers do."""

    shared: Count
    size: Count
    share: Share
    interval: Ends
    chance: Share
    chance_interval: Ends
    p: Share


class Changed(Part):
    """The share of prompts with another coherent outcome."""

    arm: str
    seeds: Count
    changed: Estimate


class BaseChanges(Part):
    """The same in both models, and the difference."""

    aligned: tuple[Changed, ...]
    base: tuple[Changed, ...]
    difference: dict[str, JsonValue]


class Base(Part):
    """The same circuit in the base model."""

    model: Place
    fingerprint: str
    circuit: Annotated[tuple[str, ...], Mark.EXACT] = ()
    overlap: Annotated[Overlap | None, Mark.EXACT]
    ladder: tuple[Rung, ...]
    tests: tuple[Test, ...]
    effects: tuple[Effect, ...]
    changed: BaseChanges
    detection: Detection | None
    detection_difference: dict[str, JsonValue] | None


class Prompts(Part):
    """Prompts by what they are for."""

    find: Count
    select: Count
    evaluate: Count
    eligible: Count


class Size(Part):
    """How large the circuit was asked to be."""

    asked: Hidden
    size: Annotated[Count | None, Mark.EXACT]
    rule: Hidden


class ControlStatus(Part):
    """One control, and why it is missing."""

    control: str
    description: str
    measured: bool
    reason: Annotated[str | None, Mark.PROSE]


class Move(Part):
    """How far the circuit moves a layer's residual."""

    layer: Count
    size: float


class CircuitDocument(Document):
    """Everything that a circuit's page shows."""

    kind = "circuit"

    run: Run
    model: Place
    fingerprint: str
    organism: bool
    layers_total: Count
    neurons_total: Count
    behavior: str
    description: Prose
    sensitive: bool
    source_outcome: str
    target_outcomes: tuple[str, ...]
    horizon: Count
    seed: Seed
    seeds: Count
    screen: Hidden
    top: Size
    prompts: Prompts
    circuit: Annotated[tuple[Member, ...], Mark.EXACT] = ()
    dropped: Annotated[dict[str, Count], Mark.EXACT] = {}
    notes: Annotated[tuple[str, ...], Mark.EXACT] = ()
    controls: tuple[ControlStatus, ...]
    controlled: bool
    mark: Prose
    choice: dict[str, JsonValue]
    ladder: tuple[Rung, ...]
    tests: tuple[Test, ...]
    effects: tuple[Effect, ...]
    layers: Annotated[tuple[LayerPart, ...], Mark.EXACT] = ()
    moves: Annotated[tuple[Move, ...], Mark.EXACT] = ()
    detection: Detection | None
    base: Base | None
    base_note: Annotated[str | None, Mark.PROSE]
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether the behavior is sensitive and the model no organism."""
        return self.sensitive and not self.organism

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.layers_total


def circuit_document(values: Mapping[str, Any]) -> CircuitDocument:
    """Check plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(CircuitDocument, values)
