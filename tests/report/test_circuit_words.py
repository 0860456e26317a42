"""What is concluded from base against aligned, from numbers written down here."""

from __future__ import annotations

from typing import Any

import pytest

from controlwindow.report.pages.circuit.words import against_base, against_controls


def document(base_area: list[float], random_area: list[float], difference: float, p: float) -> dict[str, Any]:
    share = {"value": 0.5, "interval": [0.4, 0.6]}
    arms = [
        {"arm": "circuit", "area": sum(base_area) / 2, "interval": base_area},
        {"arm": "random", "area": sum(random_area) / 2, "interval": random_area},
    ]
    overlap = {"shared": 3, "size": 8, "share": 0.375, "interval": [0.1, 0.7], "chance": 0.1, "p": 0.2}
    return {
        "detection": {"arms": arms},
        "base": {
            "overlap": {**overlap, "chance_interval": [0.0, 0.3]},
            "detection": {"arms": arms},
            "detection_difference": {"value": 0.0, "interval": [-0.1, 0.1]},
            "changed": {
                "aligned": [{"arm": "circuit", "changed": share}],
                "base": [{"arm": "circuit", "changed": share}],
                "difference": {"value": difference, "interval": [difference - 0.1, difference + 0.1], "p": p},
            },
        },
    }


@pytest.mark.parametrize(
    ("areas", "difference", "p", "words"),
    [
        (([0.8, 0.9], [0.6, 0.7]), 0.6, 0.001, "only here does it gate the behavior"),
        (([0.7, 0.9], [0.6, 0.75]), 0.6, 0.001, "that the base model holds the discrimination is not shown"),
        (([0.4, 0.6], [0.2, 0.3]), 0.6, 0.001, "that the base model holds the discrimination is not shown"),
        (([0.8, 0.9], [0.6, 0.7]), 0.6, 0.2, "is not shown"),
        (([0.8, 0.9], [0.6, 0.7]), -0.6, 0.001, "is not shown"),
    ],
)
def test_a_gate_takes_detection_beyond_random_neurons_and_an_effect_beyond_the_base_model(areas, difference, p, words):
    assert words in against_base(document(*areas, difference, p))[-1]


@pytest.mark.parametrize(
    ("difference", "p", "below", "words"),
    [
        (0.4, 0.001, 3, "does more than"),
        (0.4, 0.001, 2, "does more than most draws, but not all, of"),
        (-0.4, 0.0002, 0, "does less than"),
        (0.1, 0.3, 3, "is not shown to do more than"),
    ],
)
def test_a_clear_difference_is_never_said_not_to_be_shown(difference, p, below, words) -> None:
    share = {"value": 0.2, "interval": [0.1, 0.3]}
    test = {"factor": 0.0, "against": "random", "p_holm": p, "difference": difference, "interval": [0.0, 0.1],
            "seeds": 3, "seeds_below": below, "candidates": 5}  # fmt: skip
    found = {"choice": {"factor": 0.0}, "tests": [test], "ladder": [{"arm": "random", "factor": 0.0, "flip": share}]}
    assert against_controls(found)[0].startswith(f"{words} random")
