from __future__ import annotations

import numpy as np
import pytest

from controlwindow.windows.residuals import LEVELS, Residuals, censored_quantiles, residuals_of


def slow_survival(values: list[float], reached: list[bool], at: float) -> float:
    """Kaplan–Meier by its definition: the product over distinct values of 1 − deaths/at risk."""
    survival = 1.0
    for value in sorted({v for v, r in zip(values, reached, strict=True) if r and v <= at}):
        deaths = sum(r and v == value for v, r in zip(values, reached, strict=True))
        at_risk = sum(v >= value for v in values)
        survival *= 1 - deaths / at_risk
    return survival


def test_quantiles_of_censored_values_are_those_of_the_product_limit() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        values = generator.integers(0, 12, 40).astype(float)
        reached = generator.random(40) < 0.7
        for level in (0.1, 0.3, 0.5, 0.7):
            found = float(censored_quantiles(values, reached, np.ones(40), [level])[0])
            if slow_survival(values.tolist(), reached.tolist(), values.max()) > 1 - level + 1e-9:
                assert found == values.max() + 1
                continue
            assert 1 - slow_survival(values.tolist(), reached.tolist(), found) >= level - 1e-9
            below = slow_survival(values.tolist(), reached.tolist(), found - 0.5)
            assert 1 - below < level + 1e-9


def test_weights_count_as_copies() -> None:
    values, reached = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    weights = np.array([1, 3, 2, 1])
    copies = np.repeat(np.arange(4), weights)
    for level in (0.1, 0.2, 0.4, 0.6, 0.9):
        one = censored_quantiles(values, reached, weights.astype(float), [level])
        other = censored_quantiles(values[copies], reached[copies], np.ones(len(copies)), [level])
        assert one == other


def test_a_new_residual_lies_inside_as_often_as_is_said() -> None:
    generator = np.random.default_rng(0)
    inside = total = 0
    for _ in range(600):
        made = generator.standard_t(3, 30)
        found = residuals_of(made[:29], np.ones(29, dtype=bool), np.ones(29), 29)
        inside += found.quantile(0.05) <= made[29] <= found.quantile(0.95)
        total += 1
    assert inside / total == pytest.approx(0.9, abs=0.035)


def test_widening_keeps_the_median() -> None:
    values = np.random.default_rng(1).exponential(1.0, 200)
    narrow = residuals_of(values, np.ones(200, dtype=bool), np.ones(200), 200)
    wide = residuals_of(values, np.ones(200, dtype=bool), np.ones(200), 200, widened=2.0)
    assert wide.quantile(0.5) == narrow.quantile(0.5)
    assert wide.quantile(0.95) - wide.quantile(0.5) == pytest.approx(2 * (narrow.quantile(0.95) - narrow.quantile(0.5)))


def test_the_share_above_inverts_the_quantiles() -> None:
    found = Residuals(tuple(float(level) ** 2 for level in LEVELS), 100)
    for level in (0.05, 0.3, 0.55, 0.9):
        assert float(found.share_above(found.quantile(level))) == pytest.approx(1 - level, abs=1e-6)
    assert found.share_above([-1.0, 2.0]).tolist() == [1.0, 0.0]
