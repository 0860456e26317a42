from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.errors import NeuronError
from controlwindow.models import Neuron

numbers = st.integers(0, 10**6)


@given(numbers, numbers, st.none() | numbers)
def test_a_name_reads_back_as_the_neuron(layer: int, index: int, expert: int | None) -> None:
    neuron = Neuron(layer, index, expert)
    assert Neuron.parse(str(neuron)) == neuron
    assert Neuron.parse(neuron) is neuron


@pytest.mark.parametrize(
    ("name", "neuron"),
    [("L3.N7", Neuron(3, 7)), ("l3.n7", Neuron(3, 7)), (" L0.N0 ", Neuron(0, 0)), ("L2.E5.N1", Neuron(2, 1, 5))],
)
def test_names_are_read_leniently(name: str, neuron: Neuron) -> None:
    assert Neuron.parse(name) == neuron


@pytest.mark.parametrize(
    "name", ["", "L3", "N7", "L3N7", "L3.N", "L-1.N2", "L3.N7.E1", "L3.N7 L4.N8", "3.7", "L3.N7x", "L1.5.N2", None, 3]
)
def test_malformed_names_are_refused_with_the_form_that_is_right(name: object) -> None:
    with pytest.raises(NeuronError, match="malformed neuron") as caught:
        Neuron.parse(name)  # type: ignore[arg-type]
    assert repr(name) in str(caught.value)
    assert "L3.N7" in caught.value.hint


def test_neurons_sort_by_layer_then_index() -> None:
    assert sorted([Neuron(1, 0), Neuron(0, 9), Neuron(0, 2)]) == [Neuron(0, 2), Neuron(0, 9), Neuron(1, 0)]
