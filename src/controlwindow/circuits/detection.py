"""How well single neurons tell the two sides of a contrast apart: δ and the area under the curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import Interval, bootstrap_indices, pairs_above, percentile_interval, stable_seed

Floats = NDArray[np.float64]

REPLICATES = 1000


class Detection(NamedTuple):
    """What a set of neurons tells of the contrast.

    Attributes:
        delta: δ = mean a(X+) − mean a(X−) of each neuron (CNA), [neurons].
        areas: Area under the curve of each neuron, oriented by its sign, [neurons].
        area: Their mean.
        interval: 95 % of that mean, over prompts of both sides.
        replicates: Bootstrap means, [replicates]; equal seeds pair them between models.
        counts: Prompts in X+ and X−.
    """

    delta: Floats
    areas: Floats
    area: float
    interval: Interval
    replicates: Floats
    counts: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """As plain values, without the replicates."""
        return {
            "delta": self.delta.tolist(),
            "areas": self.areas.tolist(),
            "area": self.area,
            "interval": list(self.interval),
            "positive": self.counts[0],
            "negative": self.counts[1],
        }


def detection(positive: Floats, negative: Floats, signs: Sequence[int], seed: int) -> Detection:
    """δ and areas of neurons, with an interval of the mean area over prompts.

    Args:
        positive: Activations on X+, [prompts, neurons].
        negative: Activations on X−, [prompts, neurons].
        signs: +1 where a neuron was found to be higher on X+, −1 where lower; found on other prompts.
        seed: Seed of the bootstrap.
    """
    sign = np.where(np.asarray(signs) < 0, -1.0, 1.0)
    plus, minus = positive * sign, negative * sign
    # Of each pair of prompts whether X+ lies above, ties counted half: [X+, X−, neurons].
    above = pairs_above(plus, minus)
    mean = above.mean(-1)
    rows = _counts(len(plus), "positive", seed)
    columns = _counts(len(minus), "negative", seed)
    replicates = np.einsum("rp,pq,rq->r", rows, mean, columns, optimize=True) / mean.size
    areas = above.mean((0, 1))
    return Detection(
        delta=positive.mean(0) - negative.mean(0),
        areas=areas,
        area=float(areas.mean()),
        interval=percentile_interval(replicates),
        replicates=replicates,
        counts=(len(plus), len(minus)),
    )


def _counts(size: int, side: str, seed: int) -> Floats:
    drawn = bootstrap_indices(size, REPLICATES, stable_seed("detection", side, seed))
    return np.stack([np.bincount(row, minlength=size) for row in drawn]).astype(np.float64)
