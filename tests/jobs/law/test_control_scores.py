"""First-order scores against control: areas and τ-b against counted pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from controlwindow.jobs.law.control import control_scores
from law_records import record


def neurons(source: str = "random", count: int = 14):
    generator = np.random.default_rng(11)
    found = []
    for i in range(count):
        share, height = float(generator.random()), float(np.round(generator.random(), 1))
        scores = {"gradient": [share - 0.5, share], "readout_cosine": [-share / 2, share]}
        for branch in (1, -1):
            tall = height if branch == 1 else 0.0
            found.append(
                record(
                    neuron=f"L1.N{i}", branch=branch, source=source, height=tall, open=tall > 0.5, first_order=scores
                )
            )
    return found


def test_areas_and_taus_are_counted_over_neurons_on_their_better_branch():
    pairs = neurons()
    found = control_scores(pairs)["natural"]
    better = [r for r in pairs if r["branch"] == 1]
    assert found["neurons"] == len(better)
    shares = [r["first_order"]["gradient"][1] for r in better]
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, r in zip(shares, better, strict=True)
        for b, s in zip(shares, better, strict=True)
        if r["open"] and not s["open"]
    ]
    assert found["screens"]["gradient"]["auc"] == pytest.approx(np.mean(wins))
    heights = [r["height"] for r in better]
    concordant = ties_x = ties_y = total = 0
    for i, j in itertools.combinations(range(len(better)), 2):
        x, y = np.sign(shares[i] - shares[j]), np.sign(heights[i] - heights[j])
        concordant += x * y
        ties_x += x == 0
        ties_y += y == 0
        total += 1
    tau = concordant / np.sqrt((total - ties_x) * (total - ties_y))
    assert found["screens"]["gradient"]["tau_b"] == pytest.approx(tau)
    low, high = found["screens"]["gradient"]["auc_interval"]
    assert low <= found["screens"]["gradient"]["auc"] <= high


def test_planted_neurons_and_the_readout_axis_stand_apart():
    found = control_scores([*neurons(), *neurons("planted", 4)])
    assert (found["natural"]["neurons"], found["planted"]["neurons"]) == (14, 4)
    assert "readout_cosine" not in found["natural"]["screens"]
    cosines = found["natural"]["readout_cosine"]
    assert cosines["open"]["n"] + cosines["closed"]["n"] == 14
    assert 0 <= cosines["open"]["median"] <= 0.5


def test_without_an_open_neuron_there_is_no_area():
    closed = [{**r, "open": False} for r in neurons()]
    assert control_scores(closed)["natural"]["screens"]["gradient"]["auc"] is None
