"""Intervals and tests: every rate, threshold and verdict carries its uncertainty."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats


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
