"""Candidates: each neuron once, for the first of its reasons; the random ones are drawn from the rest."""

from __future__ import annotations

import polars as pl
import pytest

from controlwindow.instruments import generic_pass
from controlwindow.jobs.audit.candidates import select_candidates
from controlwindow.models import Neuron


@pytest.fixture
def ranking(llama) -> pl.DataFrame:
    names = [str(n) for n in llama.neurons]
    return pl.DataFrame(
        {
            "neuron": names,
            "rank": range(1, len(names) + 1),
            "score": [1 / (i + 1) for i in range(len(names))],
            "sign": [(-1) ** i for i in range(len(names))],
        }
    )


def choose(llama, ranking, **given):
    values = {"planted": [], "named": [], "top": 4, "random": given.get("top", 4), "seed": 0, **given}
    tables = {"contrastive": ranking, **values.pop("others", {})}
    return select_candidates(llama, generic_pass(llama), "b", tuple(tables), tables, **values)


def test_reasons_in_order_and_nothing_twice(llama, ranking):
    first, second = Neuron.parse(ranking["neuron"][0]), Neuron.parse(ranking["neuron"][1])
    found = choose(llama, ranking, planted=[first], named=[first, second])
    assert found.sources[str(first)] == "planted"
    assert found.sources[str(second)] == "named"
    by_source = list(found.sources.values())
    assert by_source.count("screen") == 4
    assert by_source.count("random") == 4
    screened = [n for n, source in found.sources.items() if source == "screen"]
    assert screened == ranking["neuron"][2:6].to_list()
    assert found.ranks["contrastive"][str(first)] == 1


def test_the_random_draw_is_seeded(llama, ranking):
    draws = [
        [n for n, s in choose(llama, ranking, top=6, seed=seed).sources.items() if s == "random"] for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_top_zero_needs_no_ranking(llama):
    found = select_candidates(llama, generic_pass(llama), "b", ["contrastive"], {}, [], [Neuron(0, 1)], 0, 0, 0)
    assert found.sources == {"L0.N1": "named"}


def test_a_neuron_that_a_screen_dropped_has_no_rank(llama, ranking):
    found = choose(llama, ranking.tail(len(ranking) - 1), named=[Neuron.parse(ranking["neuron"][0])])
    assert found.ranks["contrastive"][ranking["neuron"][0]] is None
    assert found.sizes["contrastive"] == len(ranking) - 1


def test_late_neurons_are_passed_over_and_named(llama, ranking):
    asked = []

    def late(name: str, sign: int) -> float | None:
        asked.append((name, sign))
        return 0.01 if name in ("L0.N1", "L0.N3") else None

    found = choose(llama, ranking, top=3, late=late, named=[Neuron(0, 0)])
    assert [n for n, source in found.sources.items() if source == "screen"] == ["L0.N2", "L0.N4", "L0.N5"]
    assert found.passed_over == {"L0.N1": 0.01, "L0.N3": 0.01}
    assert found.unaided == ["L0.N0", "L0.N2", "L0.N4"]
    # Whoever is tested for another reason is not asked about.
    assert asked == [("L0.N1", -1), ("L0.N2", 1), ("L0.N3", -1), ("L0.N4", 1), ("L0.N5", -1)]
    kept = choose(llama, ranking, top=3, named=[Neuron(0, 0)])
    assert [n for n, source in kept.sources.items() if source == "screen"] == ["L0.N1", "L0.N2", "L0.N3"]
    assert kept.passed_over == {}


def test_more_screens_bring_their_own_tops_and_random_ones_are_as_many_as_asked(llama, ranking):
    turned = ranking.reverse()
    found = choose(llama, ranking, top=2, random=5, others={"window": turned})
    screened = [n for n, source in found.sources.items() if source == "screen"]
    assert screened == [*ranking["neuron"][:2], *turned["neuron"][:2]]
    assert list(found.sources.values()).count("random") == 5
    # A neuron that two screens name is one candidate, and is no reason to go further down the second.
    same = choose(llama, ranking, top=2, random=0, others={"window": ranking})
    assert list(same.sources) == ranking["neuron"][:2].to_list()
