"""Intervals over lineages: few, and each a sample of its own, so that Student's t speaks and no bootstrap.

A percentile bootstrap of eight lineages is too narrow by a fifth and more. The interval of a mean is Student's; that of
a ratio of means is Student's of its linearised contributions, one for each lineage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from controlwindow.jobs.law.records import Record
from controlwindow.jobs.law.resampling import Estimate, group_means


def lineage_mean(pairs: Sequence[Record], values: Sequence[float]) -> Estimate:
    """Mean over lineages of each lineage's mean."""
    means = list(group_means(values, [r["lineage"] for r in pairs]).values())
    return ratio_estimate(means, [1.0] * len(means), len(values))


def lineage_skill(pairs: Sequence[Record], errors: Sequence[float], against: Sequence[float]) -> Estimate:
    """Skill 1 − MAE/MAE of a baseline on the same pairs, lineages weighing the same."""
    lineages = [r["lineage"] for r in pairs]
    mine, theirs = group_means(errors, lineages), group_means(against, lineages)
    ratio = ratio_estimate(list(mine.values()), list(theirs.values()), len(errors))
    if ratio.value is None:
        return ratio
    interval = None if ratio.interval is None else (1 - ratio.interval[1], 1 - ratio.interval[0])
    return ratio._replace(value=1 - ratio.value, interval=interval)


def pair_mean(pairs: Sequence[Record], values: Sequence[float]) -> Estimate:
    """Mean over pairs, each weighing the same, with an interval over lineages."""
    lineages = sorted({r["lineage"] for r in pairs})
    groups = [[v for r, v in zip(pairs, values, strict=True) if r["lineage"] == lineage] for lineage in lineages]
    return ratio_estimate([float(sum(group)) for group in groups], [float(len(group)) for group in groups], len(values))


def ratio_estimate(numerators: Sequence[float], denominators: Sequence[float], n: int) -> Estimate:
    """Sum of numerators over sum of denominators, one of each for a lineage.

    Args:
        numerators: One value for each lineage.
        denominators: Likewise; all 1 for a mean.
        n: Pairs that they rest on.

    Example:
        >>> found = ratio_estimate([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 3)
        >>> found.value, [round(end, 3) for end in found.interval]
        (2.0, [-0.484, 4.484])
    """
    above, below = np.array(numerators, np.float64), np.array(denominators, np.float64)
    count = len(above)
    if not count or below.sum() <= 0:
        return Estimate(None, None, n, 0)
    ratio = float(above.sum() / below.sum())
    if count < 2:
        return Estimate(ratio, None, n, count)
    contributions = (above - ratio * below) / below.mean()
    reach = float(stats.t.ppf(0.975, count - 1) * contributions.std(ddof=1) / np.sqrt(count))
    return Estimate(ratio, (ratio - reach, ratio + reach), n, count)
