"""Baselines of the fits, digests, and records as tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from controlwindow.curves import SaturationCurve
from controlwindow.jobs.law.fits import Constant, best_constant, digest_of, plain_coordinate, weighted_median
from controlwindow.jobs.law.records import held_out
from controlwindow.values import from_table, to_table
from law_records import forecast, plain_dose, record


def pairs(kind: str):
    """Two lineages, one with many more pairs, collapsing at one c or at one t."""
    generator = np.random.default_rng(2)
    found = []
    for lineage, count, place in (("a", 40, 0.75), ("b", 8, 0.45)):
        for _ in range(count):
            curve = SaturationCurve(float(generator.uniform(-0.5, 0.5)))
            found.append((lineage, curve, place if kind == "coordinate" else curve.coordinate(1.2)))
    return found


def error(found, predict):
    """Mean over lineages of each lineage's mean absolute error."""
    return np.mean([np.mean([abs(predict(c) - v) for n, c, v in found if n == name]) for name in ("a", "b")])


def test_the_best_constant_is_the_best_of_its_candidates():
    for kind in ("coordinate", "dose"):
        found = pairs(kind)
        best = best_constant(found)
        candidates = {
            0.82: lambda curve: 0.82,
            0.75: lambda curve: 0.75,
            0.45: lambda curve: 0.45,
            1.2: lambda curve: curve.coordinate(1.2),
        }
        assert best.error == pytest.approx(min(error(found, predict) for predict in candidates.values()), abs=1e-6)
        assert best.kind == kind
    assert best_constant(pairs("dose")).error == pytest.approx(0, abs=1e-6)
    assert best_constant([]) == Constant("coordinate", 0.82, None)


def test_a_plain_coordinate_is_what_the_curve_gives():
    for c0 in (-0.5, 0.0, 0.3):
        assert plain_coordinate(plain_dose(0.6, c0), SaturationCurve(c0)) == pytest.approx(0.6)


def test_a_weighted_median_has_half_of_the_weight_below():
    values, weights = np.array([5.0, 1.0, 3.0, 2.0]), np.array([1.0, 1.0, 1.0, 4.0])
    assert weighted_median(values, weights) == 2.0
    repeated = np.repeat(values, weights.astype(int))
    assert weighted_median(values, weights) == np.median(repeated)


def test_digests_see_every_value_and_no_order_of_keys():
    assert digest_of({"a": 1.0, "b": (1, 2)}) == digest_of({"b": [1, 2], "a": 1.0})
    assert digest_of({"a": 0.1 + 0.2}) == digest_of({"a": 0.3})
    assert digest_of({"a": 0.3}) != digest_of({"a": 0.3001})
    assert digest_of({"a": None}) != digest_of({})


def test_records_survive_the_round_through_a_table_and_json():
    rows = [
        record(known=forecast(None, 0.6, None)),
        record(role="calibration", first_order={"gradient": [1.0, 0.5]}, ceilings_by_horizon={"32": None}),
        record(ceiling=None, answer="too_late"),
    ]
    del rows[2]["left_out"]
    table = json.loads(json.dumps(to_table(rows)))
    back = from_table(table)
    assert back[0]["known"]["ceiling"] == [None, 0.6, None, 0.0]
    assert back[1]["ceilings_by_horizon"] == {"32": None}
    assert "known" not in back[1]
    assert "left_out" not in back[2]
    assert back[2]["ceiling"] is None
    for before, after in zip(rows, back, strict=True):
        assert {k: v for k, v in before.items() if v != {}} == after or before["role"] == "calibration"
    assert len(held_out(back)) == 2
    assert len(held_out(back, "left_out")) == 1
