from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from controlwindow.circuits.detection import detection
from controlwindow.circuits.selection import Circuit, by_layer, circuit_top, overlap
from controlwindow.errors import UsageError
from controlwindow.models import Model
from controlwindow.models.neuron import Neurons


@pytest.mark.parametrize(
    ("asked", "neurons", "expected"),
    [
        ("0.1%", 3072, 32),
        ("0.1 %", 99_999, 32),
        ("0.1%", 100_000, 100),
        ("0.1%", 24, 24),
        ("1%", 3072, 31),
        ("100%", 3072, 3072),
        ("16", 3072, 16),
        (16, 3072, 16),
    ],
)
def test_sizes(asked: str | int, neurons: int, expected: int) -> None:
    assert circuit_top(asked, neurons).neurons == expected


@pytest.mark.parametrize("asked", ["0", "0%", "0.01%", "-3", -1])
def test_an_empty_circuit_is_an_error_that_says_what_to_ask_for(asked: str | int) -> None:
    with pytest.raises(UsageError, match="empty circuit") as caught:
        circuit_top(asked, 3072)
    assert "--top 1" in caught.value.hint


@pytest.mark.parametrize("asked", ["many", "", "1.5", "nan%", "inf%", "%"])
def test_what_is_no_size_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="--top"):
        circuit_top(asked, 3072)


def test_a_circuit_larger_than_the_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"4,000 neurons of 3,072"):
        circuit_top("4000", 3072)


def test_the_best_that_are_not_left_out() -> None:
    table = pl.DataFrame({"neuron": ["L1.N3", "L0.N2", "L1.N0"], "score": [-3.0, 2.0, 1.0], "sign": [-1, 1, 1]})
    found = Circuit.of(table, 2, frozenset({"L0.N2"}))
    assert found == Circuit(("L1.N3", "L1.N0"), (-3.0, 1.0), (-1, 1))
    assert Circuit.from_json(found.to_json()) == found
    assert found.layers() == {1: ("L1.N3", "L1.N0")}
    with pytest.raises(UsageError, match="ranks 2 neurons"):
        Circuit.of(table, 3, frozenset({"L0.N2"}))


def test_layers_ascend_whatever_the_ranking_is() -> None:
    assert list(by_layer(["L10.N0", "L2.N0", "L10.E1.N3"])) == [2, 10]


class Two:
    """A model of which only the number of neurons counts."""

    neurons = Neurons([4, 6])


def test_chance_overlap_is_that_of_all_circuits_with_the_same_layers() -> None:
    first, second = ["L0.N0", "L0.N1", "L1.N0"], ["L0.N1", "L1.N0", "L1.N5"]
    found = overlap(Two(), first, second, 0)  # type: ignore[arg-type]
    shared = [
        len({("a", i) for i in low} & {("a", 1)}) + len({("b", i) for i in high} & {("b", 0), ("b", 5)})
        for low in itertools.combinations(range(4), 2)
        for high in itertools.combinations(range(6), 1)
    ]
    assert (found.shared, found.size) == (2, 3)
    assert found.share == pytest.approx(2 / 3)
    assert found.chance == pytest.approx(np.mean(shared) / 3)
    assert found.p == pytest.approx(np.mean(np.array(shared) >= 2), abs=0.03)
    assert found.interval.low < found.share < found.interval.high
    assert overlap(Two(), first, first, 0).shared == 3  # type: ignore[arg-type]


def test_circuits_in_different_layers_share_nothing(llama: Model) -> None:
    found = overlap(llama, ["L0.N1", "L0.N2"], ["L1.N1", "L2.N2"], 0)
    assert (found.shared, found.chance, found.p) == (0, 0.0, 1.0)


def test_areas_are_those_of_all_pairs() -> None:
    generator = np.random.default_rng(0)
    positive, negative = generator.normal(0.8, 1, (9, 3)), generator.normal(0, 1, (7, 3))
    positive[0, 1] = negative[0, 1]
    found = detection(positive, negative, [1, -1, 1], seed=1)
    for neuron, sign in enumerate((1, -1, 1)):
        pairs = [
            1.0 if sign * a > sign * b else 0.5 if a == b else 0.0
            for a in positive[:, neuron]
            for b in negative[:, neuron]
        ]
        assert found.areas[neuron] == pytest.approx(np.mean(pairs))
    np.testing.assert_allclose(found.delta, positive.mean(0) - negative.mean(0))
    assert found.area == pytest.approx(found.areas.mean())
    assert found.interval.low < found.area < found.interval.high
    assert found.counts == (9, 7)


def test_a_bootstrap_of_areas_draws_whole_prompts() -> None:
    generator = np.random.default_rng(2)
    positive, negative = generator.normal(1, 1, (12, 2)), generator.normal(0, 1, (10, 2))
    found = detection(positive, negative, [1, 1], seed=0)
    slow = []
    for _ in range(1500):
        plus, minus = positive[generator.integers(0, 12, 12)], negative[generator.integers(0, 10, 10)]
        slow.append(np.mean(plus[:, None] > minus[None]))
    assert found.interval.low == pytest.approx(np.quantile(slow, 0.025), abs=0.03)
    assert found.interval.high == pytest.approx(np.quantile(slow, 0.975), abs=0.03)
