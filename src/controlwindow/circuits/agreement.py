"""How far PP's cheap quantities agree with what they stand for: Σ I with ΔF, F with generated text, I with itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from controlwindow.statistics import (
    REPLICATES,
    Interval,
    area_under_roc,
    bootstrap_indices,
    bootstrap_interval,
    holm,
    percentile_interval,
    wilson_interval,
)

Floats = NDArray[np.float64]

LISTED = 32
"""Neurons at the top that are listed with their intervals."""


@dataclass(frozen=True)
class SumAgainstMeasured:
    """Σ I against the measured ΔF, pair by pair (PP).

    Attributes:
        pairs: Pair, Σ I, ΔF in logits, log-odds before and after, and whether the perturbation flips their side.
        correlation: Pearson's r; None where either side is constant.
        interval: 95 %, bootstrap over pairs.
        slope: ΔF per Σ I through the origin; the final norm makes it differ from 1.
        flipped: Pairs whose perturbation changes which side is the more probable.
        same: Pairs whose perturbation changes nothing at all.
    """

    pairs: tuple[dict[str, Any], ...]
    correlation: float | None
    interval: Interval | None
    slope: float | None
    flipped: int
    same: int


def sum_against_measured(pairs: Sequence[Mapping[str, Any]], seed: int) -> SumAgainstMeasured:
    """Compare the two over the pairs of an importance row."""
    explained = np.array([pair["explained"] for pair in pairs])
    measured = np.array([pair["linear_perturbed"] - pair["linear"] for pair in pairs])
    correlation = bounds = None
    if np.ptp(explained) > 0 and np.ptp(measured) > 0:
        correlation = float(np.corrcoef(explained, measured)[0, 1])
        found = []
        for drawn in bootstrap_indices(len(pairs), REPLICATES, seed):
            x, y = explained[drawn], measured[drawn]
            # A replicate of one pair alone has no correlation, and says nothing.
            if np.ptp(x) > 0 and np.ptp(y) > 0:
                found.append(np.corrcoef(x, y)[0, 1])
        bounds = percentile_interval(np.array(found))
    square = float((explained**2).sum())
    return SumAgainstMeasured(
        pairs=tuple(
            {
                "pair": pair["pair"],
                "explained": float(e),
                "measured": float(m),
                "log_odds": pair["log_odds"],
                "log_odds_perturbed": pair["log_odds_perturbed"],
                "flips": pair["flips"],
                "same": pair["same"],
            }
            for pair, e, m in zip(pairs, explained, measured, strict=True)
        ),
        correlation=correlation,
        interval=bounds,
        slope=float((explained * measured).sum() / square) if square > 0 else None,
        flipped=sum(pair["flips"] for pair in pairs),
        same=sum(pair["same"] for pair in pairs),
    )


@dataclass(frozen=True)
class GapAgainstText:
    """The side of F at the last prompt position against the generated text of the undosed model (PP: 94–100 %).

    Attributes:
        first_tokens: Whether F is that of first tokens; else of whole texts.
        agree: Prompts on which F > 0 exactly where the generated text shows a target outcome.
        n: Prompts, both sides of every pair.
        interval: 95 %, Wilson.
        majority: Agreement of always naming the more frequent of the two: what a constant reaches.
        targets: Prompts whose generated text shows a target outcome.
        area: Area under the curve of F for target outcomes; None where all texts are of one kind.
        area_interval: 95 %, bootstrap over prompts.
    """

    first_tokens: bool
    agree: int
    n: int
    interval: Interval
    majority: float
    targets: int
    area: float | None
    area_interval: Interval | None


def gap_against_text(log_odds: Floats, targets: NDArray[np.bool_], first_tokens: bool, seed: int) -> GapAgainstText:
    """Compare F with what was generated, prompt by prompt."""
    agree = int(((log_odds > 0) == targets).sum())
    area = bounds = None
    if 0 < targets.sum() < len(targets):
        area = area_under_roc(log_odds[~targets], log_odds[targets])
        found = [
            area_under_roc(log_odds[drawn][~targets[drawn]], log_odds[drawn][targets[drawn]])
            for drawn in bootstrap_indices(len(targets), REPLICATES, seed)
            if 0 < targets[drawn].sum() < len(targets)
        ]
        bounds = percentile_interval(np.array(found))
    share = float(targets.mean())
    return GapAgainstText(
        first_tokens=first_tokens,
        agree=agree,
        n=len(targets),
        interval=wilson_interval(agree, len(targets)),
        majority=max(share, 1 - share),
        targets=int(targets.sum()),
        area=area,
        area_interval=bounds,
    )


@dataclass(frozen=True)
class RankedNeuron:
    """One neuron at the top.

    Attributes:
        place: Its place among all neurons.
        mean: Mean I on find, in logits.
        interval: 95 %, bootstrap over pairs.
        coherence: |mean I|/RMS(I), 0 to 1 (PP).
        p_holm: Of mean I = 0 by a t-test over pairs, adjusted for all neurons.
        evaluated: Mean I on evaluate.
    """

    place: int
    mean: float
    interval: Interval
    coherence: float
    p_holm: float
    evaluated: float


@dataclass(frozen=True)
class Ranking:
    """The ranking of a model's neurons by |mean I|.

    Attributes:
        top: The first neurons.
        significant: Neurons of all whose adjusted p lies below 5 %.
        agreement: Spearman's correlation of mean I on find with that on evaluate, over all neurons.
        n: Pairs of find.
        stability: For each k, the overlap of the top k when pairs are resampled, with interval and chance.
    """

    top: tuple[RankedNeuron, ...]
    significant: int
    agreement: float
    n: int
    stability: tuple[dict[str, Any], ...]


def rank(
    mean: Floats,
    mean_square: Floats,
    order: Sequence[int],
    values: Floats,
    evaluated: Floats,
    stability: Sequence[Mapping[str, Any]],
    seed: int,
) -> Ranking:
    """The ranking with its uncertainty.

    Args:
        mean: Mean I of every neuron on find, [neurons].
        mean_square: Mean I².
        order: Places of the top neurons.
        values: Their I, pair by pair, [pairs, top].
        evaluated: Mean I on evaluate, [neurons].
        stability: As an importance row gives it.
        seed: Seed of the bootstrap.
    """
    pairs = len(values)
    variance = np.maximum(mean_square - mean**2, 0) * pairs / max(1, pairs - 1)
    error = np.sqrt(variance / pairs)
    p = np.ones(len(mean))
    varying = error > 0
    p[varying] = 2 * stats.t.sf(np.abs(mean[varying]) / error[varying], pairs - 1)
    adjusted = holm(p)
    root = np.sqrt(np.maximum(mean_square, 0))
    top = [
        RankedNeuron(
            place=int(place),
            mean=float(mean[place]),
            interval=bootstrap_interval(values[:, column], seed),
            coherence=float(min(1.0, abs(mean[place]) / root[place])) if root[place] > 0 else 0.0,
            p_holm=float(adjusted[place]),
            evaluated=float(evaluated[place]),
        )
        for column, place in enumerate(order[:LISTED])
    ]
    together = stats.spearmanr(mean, evaluated).statistic if np.ptp(mean) > 0 and np.ptp(evaluated) > 0 else 0.0
    return Ranking(
        top=tuple(top),
        significant=int((adjusted < 0.05).sum()),
        agreement=float(together),
        n=pairs,
        stability=tuple(dict(row) for row in stability),
    )
