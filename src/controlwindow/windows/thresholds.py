"""Where a share of prompts first crosses a threshold along the dose: bracket, estimate, bootstrap over prompts.

The response is not monotone (refused → exact → wrong → collapsed), so a threshold is the *first* measured dose at
which the share reaches the level, scanning up from 0. Between that dose and the one below it is interval-censored;
the point estimate interpolates the share in c, and the interval reaches from the lower ends to the upper ends of the
brackets of the bootstrap, so it is never narrower than the dose grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import Interval, percentile_interval

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Threshold(NamedTuple):
    """A threshold in c.

    Attributes:
        value: The estimate; None when the level is not reached in the measured range.
        interval: 95 % bootstrap over prompts; an end is None when it is not reached.
        bracket: Last measured c below and first at or above the level; None when not reached.
    """

    value: float | None
    interval: tuple[float | None, float | None]
    bracket: tuple[float, float] | None


def first_bracket(shares: Floats, level: float) -> int | None:
    """Index of the first dose whose share reaches the level, or None."""
    reached = np.flatnonzero(shares >= level)
    return int(reached[0]) if len(reached) else None


def crossings(coordinates: Floats, shares: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """First crossings of many share curves at once.

    Args:
        coordinates: c of the measured doses, ascending, [doses]; the first is the undosed model's.
        shares: One curve per row, [curves, doses].
        level: The share to reach.

    Returns:
        Estimates, lower and upper bracket ends, [curves] each; infinite where the level is not reached.
    """
    reached = shares >= level
    index = reached.argmax(axis=1)
    found = reached.any(axis=1)
    before = np.maximum(index - 1, 0)
    rows = np.arange(len(shares))
    low, high = coordinates[before], coordinates[index]
    below, above = shares[rows, before], shares[rows, index]
    rise = np.where(above > below, above - below, 1.0)
    inside = np.clip((level - below) / rise, 0.0, 1.0)
    estimate = np.where(index == 0, high, low + inside * (high - low))
    infinite = np.full(len(shares), np.inf)
    return (
        np.where(found, estimate, infinite),
        np.where(found, low, infinite),
        np.where(found, high, infinite),
    )


def threshold(coordinates: Floats, events: Bools, level: float, replicates: NDArray[np.int64]) -> Threshold:
    """A threshold with its interval.

    Args:
        coordinates: c of the measured doses, ascending, [doses].
        events: Whether each prompt's rollout shows the event at each dose, [doses, prompts].
        level: The share of prompts that makes a threshold (half, by definition).
        replicates: Bootstrap indices over prompts, [replicates, prompts].
    """
    shares = events.mean(axis=1)
    estimate, low, high = (float(x[0]) for x in crossings(coordinates, shares[None], level))
    _, lows, highs = crossings(coordinates, resampled_shares(events, replicates), level)
    interval = Interval(percentile_interval(lows).low, percentile_interval(highs).high)
    return Threshold(
        value=_finite(estimate),
        interval=(_finite(interval.low), _finite(interval.high)),
        bracket=(low, high) if np.isfinite(estimate) else None,
    )


def resampled_shares(events: Bools, replicates: NDArray[np.int64]) -> Floats:
    """Shares of every bootstrap replicate at every dose, [replicates, doses]."""
    counts = np.zeros((len(replicates), events.shape[1]))
    np.add.at(counts, (np.arange(len(replicates))[:, None], replicates), 1.0)
    return np.asarray(counts @ events.T.astype(np.float64) / events.shape[1])


def probability_open(
    coordinates: Floats, flips: Bools, collapses: Bools, level: float, replicates: NDArray[np.int64]
) -> float:
    """Paired bootstrap over prompts: the share of replicates whose trigger is reached below their ceiling."""
    triggers, _, _ = crossings(coordinates, resampled_shares(flips, replicates), level)
    ceilings, _, _ = crossings(coordinates, resampled_shares(collapses, replicates), level)
    return float(np.mean(np.isfinite(triggers) & (triggers < ceilings)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
