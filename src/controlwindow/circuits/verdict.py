"""Opposition, routing or mixed: what the FFN-to-skip ratio predicts, what the interventions show, and the topology.

PP reports that circuits with a ratio above 0.3 look like opposition, which answers to ablation, and those below 0.2
like routing, which answers to injection; its abstract states 0.3–1.1 as the condition for injecting a language. The two
do not agree, so the ratio's predictions are reported as predictions and tested here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from controlwindow.circuits.evidence import EffectLine, RolloutLine
from controlwindow.circuits.probe import INJECTIONS, Intervention
from controlwindow.statistics import (
    REPLICATES,
    Interval,
    bootstrap_indices,
    percentile_interval,
)

OPPOSITION_ABOVE, ROUTING_BELOW = 0.3, 0.2
INJECTION_RANGE = (0.3, 1.1)
LEVEL = 0.05
"""Adjusted p below which an intervention is said to move the behavior."""

HALF_SHARE = 0.01
"""A circuit is concentrated if at most this share of all neurons holds half of Σ|mean I| (ours)."""

SHIELDED = 0.5
"""A circuit is shielded if the rest of the model takes back more than this share of its direct effect (ours)."""

Kind = Literal["opposition", "routing", "mixed", "neither"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RatioPrediction:
    """The FFN-to-skip ratio and what it predicts.

    Attributes:
        ratio: Ratio of means over both sides of the evaluated pairs.
        interval: 95 %, bootstrap over pairs.
        n: Pairs.
        predicted: opposition, routing, or undecided between the two thresholds.
        probability: Share of the bootstrap in which the prediction is the same.
        injection_predicted: Whether the abstract's condition for injection holds.
    """

    ratio: float
    interval: Interval
    n: int
    predicted: Literal["opposition", "routing", "undecided"]
    probability: float
    injection_predicted: bool


@dataclass(frozen=True)
class Verdict:
    """What the interventions show.

    Attributes:
        kind: opposition if ablation alone moves the behavior, routing if injection alone does, mixed if both, else
            neither.
        measured_on: "generated" text, or "log_odds" where too few prompts are eligible.
        ablation_moves: Whether ablating the circuit flips more than its controls do.
        injection_moves: The same of either injected direction.
        by_f: The verdict that F's flips alone would give.
        ratio_agrees: Whether the ratio's prediction is the verdict; None where either is open (undecided, mixed,
            neither).
        injection_agrees: Whether injection works where the abstract's condition says so, and only there.
        complete: Whether every control of the evidence ran.
    """

    kind: Kind
    measured_on: Literal["generated", "log_odds"]
    ablation_moves: bool
    injection_moves: bool
    by_f: Kind
    ratio_agrees: bool | None
    injection_agrees: bool
    complete: bool


@dataclass(frozen=True)
class Topology:
    """Whether an effect sits in few neurons, and whether the rest of the model makes up for their loss.

    Attributes:
        shares: Share of Σ|mean I| in the top k on find, by k.
        effective: (Σ|I|)²/Σ I², the number of neurons it would be spread over evenly.
        half: Fewest neurons that hold half of Σ|mean I|.
        neurons: Neurons of the model.
        compensated: Share of the direct effect of ablating the largest k that the rest takes back; None without one.
        compensated_interval: 95 %.
        kind: shielded, concentrated, both, or neither.
    """

    shares: dict[int, float]
    effective: float
    half: int
    neurons: int
    compensated: float | None
    compensated_interval: Interval | None
    kind: Literal["shielded", "concentrated", "concentrated and shielded", "neither"]


def predict(ffn: Floats, skip: Floats, seed: int) -> RatioPrediction:
    """The ratio's prediction.

    Args:
        ffn: |d_F·FFN| of both sides of each pair, [pairs, 2].
        skip: |d_F·h|, [pairs, 2].
        seed: Seed of the bootstrap over pairs.
    """
    drawn = bootstrap_indices(len(ffn), REPLICATES, seed)
    replicates = ffn[drawn].mean((1, 2)) / skip[drawn].mean((1, 2))
    ratio = float(ffn.mean() / skip.mean())
    predicted = _region(ratio)
    low, high = INJECTION_RANGE
    return RatioPrediction(
        ratio=ratio,
        interval=percentile_interval(replicates),
        n=len(ffn),
        predicted=predicted,
        probability=float(np.mean([_region(float(value)) == predicted for value in replicates])),
        injection_predicted=low <= ratio <= high,
    )


def _region(ratio: float) -> Literal["opposition", "routing", "undecided"]:
    return "opposition" if ratio > OPPOSITION_ABOVE else "routing" if ratio < ROUTING_BELOW else "undecided"


def classify(
    effects: Mapping[Intervention, EffectLine], rollouts: Sequence[RolloutLine], ratio: RatioPrediction
) -> Verdict:
    """The verdict from flips against their controls.

    Args:
        effects: Lines of the chosen settings on F.
        rollouts: Lines of the same settings on generated text; empty where too few prompts are eligible.
        ratio: What the ratio predicts.
    """
    by_f = {name: _moves(line.flips, line.control_flips, line.flips_p) for name, line in effects.items()}
    by_text = {
        line.setting.intervention: _moves(line.flips, _mean(line.controls.random_draws, line.controls.shuffled_draws),
                                          line.p_holm)
        for line in rollouts
    }  # fmt: skip
    moves = by_text or by_f
    ablation, injection = moves["ablate"], any(moves[name] for name in INJECTIONS)
    kind = _kind(ablation, injection)
    decided = ratio.predicted != "undecided" and kind in ("opposition", "routing")
    evidence: list[EffectLine | RolloutLine] = list(rollouts) or list(effects.values())
    return Verdict(
        kind=kind,
        measured_on="generated" if by_text else "log_odds",
        ablation_moves=ablation,
        injection_moves=injection,
        by_f=_kind(by_f["ablate"], any(by_f[name] for name in INJECTIONS)),
        ratio_agrees=ratio.predicted == kind if decided else None,
        injection_agrees=ratio.injection_predicted == injection,
        complete=all(line.controls.complete for line in evidence),
    )


def _kind(ablation: bool, injection: bool) -> Kind:
    if ablation and injection:
        return "mixed"
    return "opposition" if ablation else "routing" if injection else "neither"


def _moves(flips: float, control: float | None, p: float | None) -> bool:
    """Whether flips exceed those of the controls; without a control nothing is concluded."""
    return control is not None and p is not None and flips > control and p < LEVEL


def _mean(*draws: tuple[float, ...]) -> float | None:
    values = [value for group in draws for value in group]
    return float(np.mean(values)) if values else None


def topology(mean: Floats, ladder: Sequence[int], ablations: Sequence[EffectLine]) -> Topology:
    """The topology of a circuit.

    Args:
        mean: Mean I of every neuron on find.
        ladder: Sizes.
        ablations: The lines of ablation on evaluate, by ascending size.
    """
    sizes = np.sort(np.abs(mean))[::-1]
    cumulative = np.cumsum(sizes) / sizes.sum()
    half = int(np.searchsorted(cumulative, 0.5) + 1)
    largest = ablations[-1]
    bounds = largest.compensated_interval
    concentrated = half <= HALF_SHARE * len(mean)
    shielded = bounds is not None and bounds.low > SHIELDED
    names: dict[tuple[bool, bool], Literal["shielded", "concentrated", "concentrated and shielded", "neither"]] = {
        (True, True): "concentrated and shielded",
        (True, False): "concentrated",
        (False, True): "shielded",
        (False, False): "neither",
    }
    return Topology(
        shares={size: float(cumulative[size - 1]) for size in ladder},
        effective=float(sizes.sum() ** 2 / (sizes**2).sum()),
        half=half,
        neurons=len(mean),
        compensated=largest.compensated,
        compensated_interval=bounds,
        kind=names[concentrated, shielded],
    )
