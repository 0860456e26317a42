"""Intervals of errors and skills by bootstraps that resample what was sampled: neurons within models, or lineages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import REPLICATES, percentile_interval, stable_seed

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its 95 % bootstrap interval.

    Attributes:
        value: The number; None where nothing was measured.
        interval: Its interval; None likewise, or where a single cluster leaves nothing to resample.
        n: Pairs that it rests on.
        clusters: Clusters that were resampled.
    """

    value: float | None
    interval: tuple[float, float] | None
    n: int
    clusters: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "n": self.n,
            "clusters": self.clusters,
        }


def cluster_means(
    values: Floats, clusters: Sequence[Hashable], strata: Sequence[Hashable], seed: int
) -> tuple[Floats, Floats]:
    """Mean of each column, and of each column in every bootstrap replicate.

    Args:
        values: [pairs, columns].
        clusters: What is resampled: pairs of a cluster stay together.
        strata: Clusters are resampled within these.
        seed: Seed of the bootstrap.

    Returns:
        Means [columns] and replicates [REPLICATES, columns].
    """
    generator = np.random.default_rng(stable_seed("law bootstrap", seed))
    names: dict[tuple[Hashable, Hashable], int] = {}
    place = np.array([names.setdefault(key, len(names)) for key in zip(strata, clusters, strict=True)])
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    counts = np.bincount(place, minlength=len(names)).astype(np.float64)
    by_stratum: dict[Hashable, list[int]] = {}
    for (stratum, _), index in names.items():
        by_stratum.setdefault(stratum, []).append(index)
    total, number = np.zeros((REPLICATES, values.shape[1])), np.zeros(REPLICATES)
    for members in by_stratum.values():
        chosen = np.array(members)[generator.integers(0, len(members), (REPLICATES, len(members)))]
        total += sums[chosen].sum(axis=1)
        number += counts[chosen].sum(axis=1)
    return values.mean(axis=0), total / number[:, None]


def mean_estimate(
    values: Sequence[float], clusters: Sequence[Hashable], strata: Sequence[Hashable], seed: int = 0
) -> Estimate:
    """A mean with its interval."""
    if not values:
        return Estimate(None, None, 0, 0)
    mean, replicates = cluster_means(np.array(values, np.float64)[:, None], clusters, strata, seed)
    return _estimate(float(mean[0]), replicates[:, 0], len(values), clusters, strata)


def skill_estimate(
    errors: Sequence[float],
    baseline: Sequence[float],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable],
    seed: int = 0,
) -> Estimate:
    """Skill 1 − MAE/MAE of the baseline on the same pairs: above 0 is better than the baseline."""
    if not errors:
        return Estimate(None, None, 0, 0)
    means, replicates = cluster_means(np.array([errors, baseline], np.float64).T, clusters, strata, seed)
    if means[1] <= 0:
        return Estimate(None, None, len(errors), 0)
    ratio = replicates[:, 0] / np.where(replicates[:, 1] > 0, replicates[:, 1], np.nan)
    return _estimate(1 - float(means[0] / means[1]), 1 - ratio[np.isfinite(ratio)], len(errors), clusters, strata)


def group_means(values: Sequence[float], groups: Sequence[str]) -> dict[str, float]:
    """Mean by group, in the order of their names."""
    found: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        found.setdefault(group, []).append(value)
    return {group: float(np.mean(found[group])) for group in sorted(found)}


def _estimate(
    value: float, replicates: Floats, n: int, clusters: Sequence[Hashable], strata: Sequence[Hashable]
) -> Estimate:
    number = len(set(zip(strata, clusters, strict=True)))
    if number < 2:
        return Estimate(value, None, n, number)
    low, high = percentile_interval(replicates)
    return Estimate(value, (low, high), n, number)
