from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from controlwindow.windows.regression import ridge


def problem(n: int = 300, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    design = np.column_stack([np.ones(n), generator.normal(size=(n, 3))])
    truth = np.array([0.5, 1.0, -0.7, 0.0])
    return design, design @ truth + noise * generator.standard_normal(n), truth


def test_penalties_shrink_as_ridge_does() -> None:
    design, _, truth = problem()
    # Noise that is bounded, so that nothing is an outlier and the fit is plain ridge.
    values = design @ truth + 0.1 * np.sign(np.random.default_rng(1).standard_normal(len(design)))
    weights = np.random.default_rng(2).uniform(0.5, 1.5, len(design))
    penalties = np.array([0.0, 0.2, 0.2, 2.0])
    share = weights / weights.sum()
    found = ridge(design, values, np.ones(len(design), dtype=bool), weights, penalties)
    least = minimize(
        lambda b: share @ (values - design @ b) ** 2 + penalties @ b**2, np.zeros(4), method="BFGS", tol=1e-10
    )
    # The shrunk fit leaves larger residuals, a few of which count less.
    assert found == pytest.approx(least.x, abs=0.05)


def test_outliers_hardly_move_it() -> None:
    design, values, truth = problem()
    values[::15] += 20
    found = ridge(design, values, np.ones(len(design), dtype=bool), np.ones(len(design)), np.zeros(4))
    assert found == pytest.approx(truth, abs=0.05)


def test_values_that_were_not_reached_do_not_pull_it_down() -> None:
    design, values, truth = problem(n=1500, noise=0.5)
    limit = 0.9
    reached = values < limit
    assert 0.2 < 1 - reached.mean() < 0.5
    cut = np.minimum(values, limit)
    aware = ridge(design, cut, reached, np.ones(len(design)), np.zeros(4))
    naive = ridge(design, cut, np.ones(len(design), dtype=bool), np.ones(len(design)), np.zeros(4))
    assert np.abs(aware - truth).max() < 0.08
    assert np.abs(naive - truth).max() > 0.2
