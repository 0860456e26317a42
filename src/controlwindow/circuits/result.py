"""What a probe found, as one value and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from controlwindow.circuits.agreement import GapAgainstText, Ranking, SumAgainstMeasured
from controlwindow.circuits.evidence import EffectLine, RolloutLine
from controlwindow.circuits.probe import Intervention
from controlwindow.circuits.verdict import RatioPrediction, Topology, Verdict


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        model: What is recorded of the model.
        behavior: The behavior's name.
        sensitive: Whether the behavior is sensitive.
        seed: Seed of everything random.
        passes: Passes planned before the probe began, by part, with their sum and rollouts.
        passes_taken: Passes that were run, rollouts apart.
        prompts: Pairs of each split, and eligible prompts of select and evaluate.
        ranking: Neurons by |mean I|.
        names: Names of the ranked neurons, by place.
        sums: Σ I against the measured ΔF on evaluate.
        gap: F against generated text on evaluate.
        ratio: The FFN-to-skip ratio and its prediction.
        effects: Every line of the sweep on F.
        chosen: The chosen setting's line of every intervention.
        grid: Mean shift of the log-odds on select by injection, layer and strength.
        rollouts: The chosen settings on generated text; empty where too few prompts are eligible.
        topology: Concentrated or shielded.
        verdict: Opposition, routing, mixed or neither.
        notes: What a reader should know.
    """

    model: dict[str, Any]
    behavior: str
    sensitive: bool
    seed: int
    passes: dict[str, int]
    passes_taken: int
    prompts: dict[str, int]
    ranking: Ranking
    names: dict[int, str]
    sums: SumAgainstMeasured
    gap: GapAgainstText
    ratio: RatioPrediction
    effects: tuple[EffectLine, ...]
    chosen: dict[Intervention, EffectLine]
    grid: tuple[dict[str, Any], ...]
    rollouts: tuple[RolloutLine, ...]
    topology: Topology
    verdict: Verdict
    notes: tuple[str, ...]

    def table(self) -> pl.DataFrame:
        """The ranked neurons at the top: rank, neuron, importance, low, high, coherence, p_holm, evaluated."""
        return pl.DataFrame(
            [
                {
                    "rank": rank,
                    "neuron": self.names[row.place],
                    "importance": row.mean,
                    "low": row.interval.low,
                    "high": row.interval.high,
                    "coherence": row.coherence,
                    "p_holm": row.p_holm,
                    "evaluated": row.evaluated,
                }
                for rank, row in enumerate(self.ranking.top, start=1)
            ]
        )

    def sweep(self) -> pl.DataFrame:
        """The lines of the sweep: setting, n, shift, low, high, controls, p_holm, whether controls are complete."""
        return pl.DataFrame([_flat(line) for line in self.effects])

    def to_json(self) -> dict[str, Any]:
        """One JSON document: neurons by name, intervals as pairs, null for what could not be measured."""
        document: dict[str, Any] = _plain(asdict(self))
        names = document.pop("names")
        for row in document["ranking"]["top"]:
            row["neuron"] = names[str(row.pop("place"))]
        return document


def _flat(line: EffectLine) -> dict[str, Any]:
    return {
        **line.setting._asdict(),
        "n": line.n,
        "shift": line.shift,
        "low": line.interval.low,
        "high": line.interval.high,
        "random": line.controls.random,
        "shuffled": line.controls.shuffled,
        "p_holm": line.p_holm,
        "controls_complete": line.controls.complete,
    }


def _plain(value: Any) -> Any:
    """Nested values as JSON has them; numbers that are not finite become null."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict") and hasattr(value, "intervention"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
