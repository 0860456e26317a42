"""Intervals and tests: every rate, threshold and verdict carries its uncertainty."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

REPLICATES = 2000
"""Replicates of a bootstrap, over prompts, lineages or models, unless another number is stated."""


class Interval(NamedTuple):
    """A two-sided interval; its level is stated where it is reported."""

    low: float
    high: float


@lru_cache(maxsize=4096)
def wilson_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (scipy); [0, 1] without trials."""
    if trials == 0:
        return Interval(0.0, 1.0)
    interval = stats.binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def exact_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Clopper–Pearson interval of a proportion (scipy); used where a bound is claimed on rare events."""
    if trials == 0:
        return Interval(0.0, 1.0)
    interval = stats.binomtest(successes, trials).proportion_ci(confidence_level=level, method="exact")
    return Interval(float(interval.low), float(interval.high))


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """Percentile interval of bootstrap replicates; infinite replicates (not reached) are kept, not dropped."""
    # "lower"/"higher" take replicates themselves, so an infinite neighbour never turns into nan by interpolation.
    low = np.quantile(values, (1 - level) / 2, method="lower")
    high = np.quantile(values, (1 + level) / 2, method="higher")
    return Interval(float(low), float(high))


def bootstrap_indices(size: int, replicates: int, seed: int) -> NDArray[np.int64]:
    """Indices of a bootstrap over prompts, [replicates, size]; the same seed pairs the replicates."""
    return np.random.default_rng(seed).integers(0, size, size=(replicates, size))


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts, equal across runs and machines."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def bootstrap_interval(values: Sequence[float] | NDArray[np.float64], seed: int, level: float = 0.95) -> Interval:
    """Percentile interval of a mean over prompts, 2,000 bootstrap replicates; nan without values."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) == 0:
        return Interval(float("nan"), float("nan"))
    return percentile_interval(found[bootstrap_indices(len(found), REPLICATES, seed)].mean(1), level)


def area_under_roc(negatives: Sequence[float] | Floats, positives: Sequence[float] | Floats) -> float:
    """Probability that a positive lies above a negative, ties counted half: Mann and Whitney's U over all pairs.

    It is the statistic of `scipy.stats.mannwhitneyu` without the p value, which a bootstrap would pay for every time.

    Args:
        negatives: Values of negative cases; infinite ones count as such.
        positives: Values of positive cases.

    Returns:
        The area; nan without cases of both kinds.

    Example:
        >>> area_under_roc([0.0, 1.0], [1.0, 2.0])
        0.875
    """
    low, high = np.asarray(negatives, dtype=np.float64), np.asarray(positives, dtype=np.float64)
    if not len(low) or not len(high):
        return float("nan")
    ranks = stats.rankdata(np.concatenate([high, low]))
    above = ranks[: len(high)].sum() - len(high) * (len(high) + 1) / 2
    return float(above / (len(high) * len(low)))


def pairs_above(positives: Floats, negatives: Floats) -> Floats:
    """Of every pair of a positive and a negative case whether the positive lies above, ties counted half.

    Args:
        positives: [positive cases, columns].
        negatives: [negative cases, columns].

    Returns:
        [positive cases, negative cases, columns]; the mean over a column's pairs is its `area_under_roc`.
    """
    plus, minus = positives[:, None], negatives[None]
    return np.asarray((plus > minus) + 0.5 * (plus == minus))


def sign_flip_p(differences: Sequence[float] | NDArray[np.float64], seed: int, draws: int = 9999) -> float:
    """Two-sided p of a mean paired difference of 0, by flipping the sign of each prompt's difference.

    All flips where there are at most 2¹², else random ones with the observed one counted among them, so that p is
    never 0.

    Example:
        >>> sign_flip_p([1.0, 1.0, 1.0], seed=0)
        0.25
    """
    found = np.asarray(differences, dtype=np.float64)
    if len(found) == 0:
        return 1.0
    if len(found) <= 12:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(found))[:, None] >> np.arange(len(found))) & 1)
        extra = 0
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(found)))
        extra = 1
    # A relative margin: sums of one set of numbers in another order may differ in the last digit.
    observed = abs(found.sum()) * (1 - 1e-9)
    hits = int((np.abs(signs @ found) >= observed).sum())
    return (hits + extra) / (len(signs) + extra)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """p values adjusted for their number (Holm 1979), in the order given.

    Example:
        >>> [float(p) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    stepped = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
