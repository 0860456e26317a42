"""Estimates over prompts and seeds: means with intervals, paired differences with tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controlwindow.statistics import (
    REPLICATES,
    Interval,
    bootstrap_indices,
    percentile_interval,
    sign_flip_p,
    stable_seed,
    wilson_interval,
)

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        value: The mean over seeds and prompts.
        interval: 95 %, over prompts, and over seeds where there are several.
        n: Prompts.
        by_seed: The mean of each seed; one entry where nothing was drawn.
    """

    value: float
    interval: Interval
    n: int
    by_seed: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"value": self.value, "interval": list(self.interval), "n": self.n, "by_seed": list(self.by_seed)}


class Difference(NamedTuple):
    """A paired difference with its 95 % interval and test.

    Attributes:
        value: Mean difference.
        interval: 95 %, over prompts, and over seeds where there are several.
        n: Prompts.
        p: Two-sided p of a sign-flip test over prompts.
        seeds_below: Seeds of the second side whose mean lies below that of the first.
        seeds: Seeds of the second side.
    """

    value: float
    interval: Interval
    n: int
    p: float
    seeds_below: int
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**self._asdict(), "interval": list(self.interval), "difference": self.value}


def estimate(values: ArrayLike, seed: int, weights: ArrayLike | None = None) -> Estimate:
    """Mean of per-prompt values with a percentile bootstrap over prompts and seeds (ours).

    Prompts are drawn anew for all seeds together, since they are the same prompts. A share of one seed has its Wilson
    interval, and so have values that are all 0 or all 1, where there is no spread to draw from.

    Args:
        values: [prompts], or [seeds, prompts].
        seed: Seed of the bootstrap.
        weights: Weight of each prompt (tokens of a text), [prompts]; default equal.

    Example:
        >>> found = estimate([0.0, 0.0, 0.0, 0.0], 0)
        >>> found.value, round(found.interval.high, 2)
        (0.0, 0.49)
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    weight = np.ones(table.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    means = table @ weight / weight.sum()
    value, n = float(means.mean()), table.shape[1]
    shares = weights is None and bool(np.isin(table, (0, 1)).all())
    if shares and (len(table) == 1 or value in (0.0, 1.0)):
        interval = wilson_interval(round(value * n), n)
    else:
        interval = percentile_interval(_replicates(table, weight, seed))
    return Estimate(value, interval, n, tuple(means.tolist()))


def paired_difference(first: ArrayLike, second: ArrayLike, seed: int) -> Difference:
    """How far one condition lies above another on the same prompts (ours).

    Args:
        first: Values of the first condition, [prompts].
        second: Values of the second, [prompts] or [seeds, prompts].
        seed: Seed of bootstrap and sign flips.

    Example:
        >>> found = paired_difference([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], 0)
        >>> found.value, found.p
        (1.0, 0.125)
    """
    one = np.asarray(first, dtype=np.float64)
    others = np.atleast_2d(np.asarray(second, dtype=np.float64))
    table = one - others
    return Difference(
        float(table.mean()),
        _difference_interval(table, seed),
        len(one),
        sign_flip_p(table.mean(0), seed),
        int((table.mean(1) > 0).sum()),
        len(table),
    )


def _difference_interval(table: Floats, seed: int) -> Interval:
    """Bootstrap interval; where all prompts and seeds moved alike, that of so many prompts without an exception."""
    first = float(table.flat[0])
    if first in (-1.0, 0.0, 1.0) and bool((table == first).all()):
        room = wilson_interval(0, table.shape[1]).high
        return Interval(max(first - room, -1.0), min(first + room, 1.0))
    return percentile_interval(_replicates(table, np.ones(table.shape[1]), seed))


def _replicates(table: Floats, weight: Floats, seed: int) -> Floats:
    """Bootstrap means, [replicates]: prompts drawn for all seeds together, seeds drawn beside them."""
    seeds, n = table.shape
    prompts = bootstrap_indices(n, REPLICATES, stable_seed("prompts", seed))
    counts = np.stack([np.bincount(drawn, minlength=n) for drawn in prompts]) * weight
    means = counts @ table.T / counts.sum(1, keepdims=True)
    chosen = bootstrap_indices(seeds, REPLICATES, stable_seed("seeds", seed))
    return np.asarray(np.take_along_axis(means, chosen, 1).mean(1))
