"""Synthetic records of a validation: plain dicts with whatever a test wants to be true of them."""

from __future__ import annotations

import math
from typing import Any

from controlwindow.curves import SaturationCurve


def record(**changes: Any) -> dict[str, Any]:
    """A held-out pair of a random neuron that collapsed at c = 0.7 and was predicted at 0.72."""
    c0 = changes.pop("c0", 0.0)
    values: dict[str, Any] = {
        "model": "m1",
        "lineage": "a",
        "family": "llama",
        "width": 64,
        "layers": 4,
        "neuron": "L1.N2",
        "branch": 1,
        "behavior": "mode",
        "role": "held_out",
        "source": "random",
        "layer": 1,
        "depth": 1 / 3,
        "region": "bulk",
        "curve": SaturationCurve(c0).to_json(),
        "c0": c0,
        "budget": 2.0,
        "plateau": None,
        "n": 16,
        "ceiling": 0.7,
        "ceiling_interval": [0.65, 0.75],
        "ceilings_by_horizon": {"8": 0.75, "16": 0.7},
        "trigger": None,
        "trigger_interval": [None, None],
        "triggers_by_outcome": {"switched": {"8": None, "16": None}},
        "target_trigger": None,
        "target_height": 0.0,
        "target_prompts": None,
        "height": 0.0,
        "open": False,
        "probability_open": 0.0,
        "failure_mode": "collapse_before_trigger",
        "propagation": 0.5,
        "injected_trigger": None,
        "flip": None,
        "behavior_class": "switch",
        "answer": None,
        "first_order": {},
    }
    values |= changes
    if values["role"] == "held_out":
        for setting in ("known", "left_out"):
            values.setdefault(setting, forecast())
    return values


def forecast(value: float | None = 0.72, low: float | None = 0.6, high: float | None = 0.8, **changes: Any) -> dict:
    """What was predicted of a pair."""
    return {
        "ceiling": [value, low, high, 0.0],
        "predictors": {"constant": 0.75, "combined_1": value},
        "constant": 0.75,
        "median": 0.71,
        "trigger": [None, 0.3, 0.9, 0.8],
        "method": "class_prior",
        "open": False,
        "probability_open": 0.1,
        "open_if_effect": changes.get("open", False),
        "probability_open_if_effect": 0.1,
        "failure_mode": "collapse_before_trigger",
        **changes,
    }


def plain_dose(c: float, c0: float) -> float:
    """t at a coordinate, from the law of cosines alone."""
    return math.sqrt(1 - c0**2) / math.tan(math.acos(c)) - c0
