"""What ships about the screens' recall is what the comparison of screens found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.screens.rescoring import rescored
from benchmarks.screens.summary import known_places
from controlwindow.screens import screen_names
from controlwindow.screens.known import known_recall
from controlwindow.statistics import exact_interval

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "screens.json"


def test_what_ships_is_what_was_measured() -> None:
    document, standings = rescored(json.loads(RESULTS.read_text("utf-8")))
    found = known_places(standings)
    assert set(found) == set(screen_names())
    for name, places in found.items():
        assert len(places) == 26
        for top in (1, 4, 16, 10_000):
            k = sum(place is not None and place <= top for place in places)
            assert known_recall(name, top) == (k, 26, exact_interval(k, 26))
    for screen in document["screens"]:
        recall = screen["score"]["rates"]["planted recall at 16"]
        assert known_recall(screen["screen"], 16)[:2] == (recall["k"], recall["n"])


def test_the_default_brings_nearly_all_and_an_unknown_screen_nobody_knows_what() -> None:
    found = known_recall("causal", 16)
    assert found is not None
    assert found.k >= 25
    assert known_recall("spread", 16) is None


@pytest.mark.parametrize("name", ["controlwindow", "torch", "transformers"])
def test_the_file_says_what_it_was_measured_with(name: str) -> None:
    shipped = json.loads((Path(known_recall.__code__.co_filename).parent / "known.json").read_text("utf-8"))
    document = json.loads(RESULTS.read_text("utf-8"))
    assert shipped["libraries"][name] == document["machine"][name]
    assert shipped["measured_by"] == "python -m benchmarks.screens"
    assert sorted(shipped["organisms"]) == document["organisms"]
