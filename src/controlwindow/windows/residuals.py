"""How far predictions missed: quantiles of residuals, some of which are only known to be at least so large.

A ceiling that was not reached leaves a residual censored from the right; its weight goes to the residuals beyond it
(Kaplan–Meier). Quantiles are those of split conformal prediction: with n calibration neurons a new one lies below the
k-th of their residuals with probability k/(n + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVELS: tuple[float, ...] = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""Levels at which quantiles are kept."""


@dataclass(frozen=True)
class Residuals:
    """The distribution of a predictor's residuals, measured less predicted.

    Attributes:
        quantiles: At `LEVELS`, not falling.
        count: Independent residuals behind them: calibration neurons, or lineages left out.
    """

    quantiles: tuple[float, ...]
    count: int

    def quantile(self, level: float) -> float:
        """The residual below which a share of new ones lies, between the kept levels.

        Example:
            >>> Residuals(tuple(2 * level for level in LEVELS), 40).quantile(0.5)
            1.0
        """
        return float(np.interp(level, LEVELS, self.quantiles))

    def share_above(self, residual: ArrayLike) -> Floats:
        """Probability that a new residual is larger, 0 and 1 beyond the kept ones; broadcasts."""
        # Equal quantiles would make the inverse of the distribution ambiguous; the larger level is meant.
        values = np.asarray(self.quantiles) + 1e-12 * np.arange(len(LEVELS))
        return 1.0 - np.interp(np.asarray(residual, np.float64), values, LEVELS, left=0.0, right=1.0)


def censored_quantiles(values: Floats, reached: Bools, weights: Floats, levels: ArrayLike) -> Floats:
    """Quantiles of values of which some are only lower bounds (Kaplan–Meier, weighted).

    Args:
        values: [n].
        reached: Whether each is the value itself; a lower bound otherwise, [n].
        weights: What each counts, [n], > 0.
        levels: In [0, 1].

    Returns:
        Quantiles at the levels; where the distribution never gets so far, 1 beyond the largest value or bound.

    Example:
        >>> censored_quantiles(np.array([1.0, 2.0, 3.0]), np.array([True, True, True]), np.ones(3), [0.5]).tolist()
        [2.0]
    """
    # At equal values those that are reached come first, as bounds say "at least".
    order = np.lexsort((~reached, values))
    values, reached, weights = values[order], reached[order], weights[order]
    at_risk = np.cumsum(weights[::-1])[::-1]
    survival = np.cumprod(np.where(reached, 1 - weights / at_risk, 1.0))
    places = np.searchsorted(1 - survival, np.asarray(levels, np.float64) - 1e-12)
    # 1 is a factor of e in log t, and the whole range in c: further than what a search asks for.
    return np.asarray([*values, values[-1] + 1.0])[places]


def residuals_of(values: Floats, reached: Bools, weights: Floats, count: int, widened: float = 1.0) -> Residuals:
    """The distribution of residuals.

    Args:
        values: Residuals, [n].
        reached: Whether each is the residual itself, or a lower bound of it, [n].
        weights: What each counts, [n].
        count: Independent ones among them, so n for the small-sample correction.
        widened: What distances from the median are multiplied by.
    """
    levels = np.asarray(LEVELS)
    stretched = np.clip(0.5 + (levels - 0.5) * (count + 1) / count, 0.0, 1.0)
    found = censored_quantiles(values, reached, weights, stretched)
    middle = found[LEVELS.index(0.5)]
    return Residuals(tuple(round(float(v), 6) for v in middle + widened * (found - middle)), count)
