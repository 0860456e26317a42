from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from controlwindow.circuits.agreement import gap_against_text, rank, sum_against_measured


def pair(explained: float, linear: float, perturbed: float, flips: bool = True) -> dict:
    odds = {"log_odds": -1.0, "log_odds_perturbed": 1.0 if flips else -0.5}
    return {"pair": "p", "same": False, "explained": explained, "linear": linear, "linear_perturbed": perturbed,
            "flips": flips, **odds}  # fmt: skip


def test_sums_are_correlated_with_the_measured_change() -> None:
    generator = np.random.default_rng(0)
    explained, linear = generator.normal(size=24), generator.normal(size=24)
    change = 0.5 * explained + 0.2 * generator.normal(size=24)
    pairs = [pair(e, f, f + d, i % 3 == 0) for i, (e, f, d) in enumerate(zip(explained, linear, change, strict=True))]
    found = sum_against_measured(pairs, 1)
    assert found.correlation == pytest.approx(stats.pearsonr(explained, change).statistic)
    assert found.interval.low < found.correlation < found.interval.high
    assert found.slope == pytest.approx(float(np.linalg.lstsq(explained[:, None], change, rcond=None)[0][0]))
    assert (found.flipped, found.same) == (8, 0)
    assert [row["measured"] for row in found.pairs] == pytest.approx(change)


def test_a_perturbation_that_changes_nothing_has_no_correlation() -> None:
    found = sum_against_measured([pair(0.0, 1.0, 1.0, False) for _ in range(6)], 0)
    assert (found.correlation, found.interval, found.slope, found.flipped) == (None, None, None, 0)


def test_the_gap_is_held_against_generated_text() -> None:
    log_odds = np.array([-2.0, -1.0, 0.5, 3.0, -0.5, 2.0])
    targets = np.array([False, False, True, True, True, False])
    found = gap_against_text(log_odds, targets, True, 0)
    assert (found.agree, found.n, found.targets) == (4, 6, 3)
    assert found.majority == 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in log_odds[targets] for b in log_odds[~targets]]
    assert found.area == pytest.approx(np.mean(pairs))
    assert found.interval.low < 4 / 6 < found.interval.high


def test_texts_of_one_kind_have_no_area_and_a_constant_agrees_as_often() -> None:
    found = gap_against_text(np.array([-1.0, -2.0, -3.0]), np.zeros(3, dtype=bool), True, 0)
    assert (found.agree, found.majority, found.area, found.area_interval) == (3, 1.0, None, None)


def test_ranking_has_the_intervals_and_tests_of_its_pairs() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(12, 40))
    values[:, 7] += 6.0
    mean, square = values.mean(0), (values**2).mean(0)
    order = np.argsort(-np.abs(mean))
    found = rank(mean, square, order.tolist(), values[:, order], mean + 0.01, [], 3)
    first = found.top[0]
    assert first.place == 7
    assert first.coherence == pytest.approx(abs(mean[7]) / np.sqrt(square[7]))
    assert first.interval.low < mean[7] < first.interval.high
    p = np.array([stats.ttest_1samp(values[:, i], 0).pvalue for i in range(40)])
    smallest = np.sort(p)
    adjusted = np.maximum.accumulate([min(1.0, q * (40 - i)) for i, q in enumerate(smallest)])
    assert first.p_holm == pytest.approx(adjusted[list(np.argsort(p)).index(7)], rel=1e-6)
    assert found.significant == int((adjusted < 0.05).sum()) >= 1
    assert found.agreement == pytest.approx(1.0)
