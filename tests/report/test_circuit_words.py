"""What is concluded from base against aligned, from numbers written down here."""

from __future__ import annotations

from typing import Any

import pytest

from controlwindow.report.pages.circuit.words import against_base


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
