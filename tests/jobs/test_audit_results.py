"""Results as plain values: rounding, open rates, and what the coverage statement says."""

from __future__ import annotations

import pytest

from controlwindow.jobs.audit.results import open_rate
from controlwindow.values import round_floats


def window(neuron: str, verdict: str, source: str = "random", branch: int = 1) -> dict:
    return {"neuron": neuron, "behavior": "b", "branch": branch, "verdict": verdict, "candidate_from": source}


def test_floats_are_rounded_to_six_digits_everywhere():
    assert round_floats({"a": [0.123456789, {"b": (1.00000049, None, 3)}]}) == {"a": [0.123457, {"b": [1.0, None, 3]}]}
    assert str(round_floats(-1e-9)) == "0.0", "no negative zero, which would differ between machines"


def test_the_open_rate_counts_random_neurons_on_any_branch_once():
    windows = [
        window("L0.N1", "open"), window("L0.N1", "open", branch=-1), window("L0.N2", "closed"),
        window("L0.N2", "closed", branch=-1), window("L0.N3", "open", source="planted"),
    ]  # fmt: skip
    rate = open_rate(windows, "b")
    assert (rate["k"], rate["n"]) == (1, 2)
    low, high = rate["interval"]
    assert low == pytest.approx(0.0126, abs=1e-3)
    assert high == pytest.approx(0.9874, abs=1e-3)
    assert open_rate(windows, "other") == {"behavior": "other", "k": 0, "n": 0, "interval": [0.0, 1.0]}
