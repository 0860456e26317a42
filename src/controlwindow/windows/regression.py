"""Regression for predictors: ridge with a penalty for each coefficient, robust, and aware of values not reached.

A value that was not reached is known to be at least its limit. It is replaced by what a normal residual beyond the
limit is on average, and the fit is repeated (expectation–maximisation of the censored normal model, Tobit). Residuals
beyond 1.5 robust standard deviations count less (Huber), since errors are judged by their absolute size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ROUNDS = 8
_HUBER = 1.5
_NORMAL_MAD = 1.4826


def ridge(design: Floats, values: Floats, reached: Bools, weights: Floats, penalties: Floats) -> Floats:
    """Coefficients that minimise Σ wᵢ·huber(yᵢ − xᵢ·β) + Σ λⱼ·βⱼ², wᵢ summing to 1.

    Args:
        design: x, [n, coefficients].
        values: y, or the limit up to which it was not reached, [n].
        reached: Which values are y itself, [n].
        weights: w, [n].
        penalties: λ, [coefficients]; 0 for what is not to be shrunk.

    Returns:
        β, [coefficients].
    """
    weights = weights / weights.sum()
    filled, counted = values.copy(), weights
    found: Floats = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        weighted = design * counted[:, None]
        gram = design.T @ weighted + np.diag(penalties + 1e-10)
        before, found = found, np.asarray(np.linalg.solve(gram, weighted.T @ filled), np.float64)
        fitted = design @ found
        spread = _spread(filled - fitted, weights)
        if not reached.all():
            # Mean of a normal residual that is known to lie beyond the limit (inverse Mills ratio).
            beyond = np.clip((values - fitted) / spread, -8, 8)
            mills = np.exp(stats.norm.logpdf(beyond) - stats.norm.logsf(beyond))
            filled = np.where(reached, values, fitted + spread * mills)
        size = np.abs(filled - fitted) / spread
        counted = weights * np.minimum(1.0, _HUBER / np.maximum(size, 1e-12))
        if np.abs(found - before).max() < 1e-5:
            break
    return found


def _spread(residuals: Floats, weights: Floats) -> float:
    """Robust standard deviation: the weighted median of |residual|, in units of a normal one's."""
    sizes = np.abs(residuals)
    order = np.argsort(sizes)
    middle = sizes[order][min(int(np.searchsorted(np.cumsum(weights[order]), 0.5)), len(sizes) - 1)]
    return max(float(middle) * _NORMAL_MAD, 1e-6)
