"""What a probe's page and tables are drawn from: the values that `results --json` prints, checked.

The circuit of a probe is the top of its ranking by importance, so that sizes, places and importances name its neurons
to whoever has the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import JsonValue

from controlwindow.report.marks import (
    Count,
    Document,
    Exact,
    Mark,
    NeuronName,
    Notes,
    Part,
    Place,
    Seed,
    Share,
    Withheld,
    checked,
)

Ends = tuple[float | None, float | None]


class ProbedModel(Part):
    """The probed model as it was run."""

    name: Place
    source: Place
    fingerprint: str
    family: str
    layers: Count
    neurons_total: Count
    d_model: Count
    dtype: str
    chat_template: str | None
    system_prompt: Annotated[str | None, Mark.PROSE]
    thinking: str
    organism: bool


class Setting(Part):
    """One setting of an intervention; size, layer and strength are its handle."""

    intervention: str
    size: Annotated[Count | None, Mark.EXACT]
    factor: Exact
    layer: Annotated[int | None, Mark.EXACT]
    strength: Exact


class Controls(Part):
    """What the same did with random and with shuffled selections."""

    random: float | None
    random_draws: tuple[float, ...]
    shuffled: float | None
    shuffled_draws: tuple[float, ...]
    complete: bool


class EffectLine(Part):
    """What a setting did to F on the evaluate split."""

    setting: Setting
    n: Count
    shift: float
    interval: Ends
    linear: Exact
    linear_interval: Annotated[Ends | None, Mark.EXACT]
    direct: Exact
    compensated: Exact
    compensated_interval: Annotated[Ends | None, Mark.EXACT]
    importance: Exact
    flips: Share
    flips_n: Count
    controls: Controls
    difference_interval: Ends | None
    p: Share | None
    p_holm: Share | None
    control_flips: Share | None
    flips_p: Share | None


class RolloutLine(Part):
    """What a chosen setting did to generated text on the evaluate split."""

    setting: Setting
    n: Count
    flips: Share
    interval: Ends
    coherent: Share
    coherent_interval: Ends
    outcomes: dict[str, Share]
    control_coherent: Share | None
    controls: Controls
    difference_interval: Ends | None
    p: Share | None
    p_holm: Share | None


class GridCell(Part):
    """Shift of F on select by one injection."""

    intervention: str
    layer: Count
    strength: float
    shift: float
    n: Count


class RankedNeuron(Part):
    """A neuron at the top by |mean I|."""

    neuron: NeuronName
    mean: float
    interval: Ends
    coherence: float
    p_holm: Share
    evaluated: float


class Ranking(Part):
    """Neurons by |mean I|, and how stable their order is."""

    top: Annotated[tuple[RankedNeuron, ...], Mark.EXACT] = ()
    significant: Count
    agreement: float | None
    n: Count
    stability: tuple[dict[str, JsonValue], ...]


class Topology(Part):
    """Concentrated or shielded."""

    shares: Annotated[dict[str, float], Mark.EXACT] = {}
    effective: float
    half: Count
    neurons: Count
    compensated: Exact
    compensated_interval: Annotated[Ends | None, Mark.EXACT]
    kind: str


class Verdict(Part):
    """Opposition, routing, mixed or neither."""

    kind: Literal["opposition", "routing", "mixed", "neither"]
    measured_on: Literal["generated", "log_odds"]
    ablation_moves: bool
    injection_moves: bool
    by_f: str
    ratio_agrees: bool | None
    injection_agrees: bool
    complete: bool


class ProbeDocument(Document):
    """Everything that a probe's page shows."""

    kind = "probe"

    model: ProbedModel
    behavior: str
    sensitive: bool
    seed: Seed
    passes: dict[str, Count]
    passes_taken: Count
    prompts: dict[str, Count]
    ranking: Ranking
    sums: dict[str, JsonValue]
    gap: dict[str, JsonValue]
    ratio: dict[str, JsonValue]
    effects: Annotated[tuple[EffectLine, ...], Mark.EXACT] = ()
    chosen: dict[str, EffectLine]
    grid: Annotated[tuple[GridCell, ...], Mark.EXACT] = ()
    rollouts: tuple[RolloutLine, ...]
    topology: Topology
    verdict: Verdict
    notes: Notes
    withheld: Withheld = False

    def secret(self, part: Part) -> bool | None:
        """Whether the behavior is sensitive and the model no organism."""
        return self.sensitive and not self.model.organism

    def layers_of(self, part: Part) -> int:
        """Blocks of the model."""
        return self.model.layers


def probe_document(values: Mapping[str, Any]) -> ProbeDocument:
    """Check plain values and freeze them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    return checked(ProbeDocument, values)
