"""A neuron's name: `L12.N345`, or `L12.E3.N345` in a mixture of experts; and the sequence of all of a model's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import total_ordering
from itertools import accumulate
from typing import NamedTuple, overload

from controlwindow.errors import NeuronError

_PATTERN = re.compile(r"L(\d+)(?:\.E(\d+))?\.N(\d+)", re.IGNORECASE)


@total_ordering
@dataclass(frozen=True)
class Neuron:
    """One FFN unit: one input coordinate of a block's FFN output projection.

    Neurons sort as a model holds them: by layer, routed experts by number, then those of no routed expert.

    Attributes:
        layer: Block, counted from 0.
        index: Coordinate of the output projection's input, counted from 0.
        expert: Routed expert in a mixture of experts. None in a dense layer, and for the shared expert.

    Example:
        >>> Neuron.parse("L3.N7")
        Neuron(layer=3, index=7, expert=None)
        >>> str(Neuron(12, 345, expert=3))
        'L12.E3.N345'
    """

    layer: int
    index: int
    expert: int | None = None

    def __post_init__(self) -> None:
        if self.layer < 0 or self.index < 0 or (self.expert or 0) < 0:
            raise NeuronError(f"{self} counts from below 0", "layers, experts and FFN units are counted from 0")

    @classmethod
    def parse(cls, name: str | Neuron) -> Neuron:
        """Read a neuron's name; a Neuron passes through.

        Raises:
            NeuronError: The name is malformed.
        """
        if isinstance(name, Neuron):
            return name
        match = _PATTERN.fullmatch(name.strip()) if isinstance(name, str) else None
        if match is None:
            raise NeuronError(
                f"malformed neuron {name!r}",
                "write the layer and the FFN index, as in L3.N7 (both counted from 0)",
            )
        layer, expert, index = match.groups()
        return cls(int(layer), int(index), None if expert is None else int(expert))

    def __str__(self) -> str:
        expert = "" if self.expert is None else f".E{self.expert}"
        return f"L{self.layer}{expert}.N{self.index}"

    def __lt__(self, other: Neuron) -> bool:
        return self._place() < other._place()

    def _place(self) -> tuple[int, bool, int, int]:
        return self.layer, self.expert is None, self.expert or 0, self.index


def as_list(given: Iterable[Neuron | str] | Neuron | str) -> list[Neuron | str]:
    """Neurons that a caller gives; one by itself is a list of one.

    Example:
        >>> as_list("L3.N7"), as_list(("L3.N7", "L0.N1"))
        (['L3.N7'], ['L3.N7', 'L0.N1'])
    """
    return [given] if isinstance(given, str | Neuron) else list(given)


class LayerShape(NamedTuple):
    """How many neurons a layer has.

    Attributes:
        experts: Routed experts; 0 in a dense layer.
        expert_width: Neurons of each routed expert.
        width: Neurons of the dense FFN, or of the shared expert; 0 where there is none.
    """

    experts: int
    expert_width: int
    width: int

    @property
    def routed(self) -> int:
        """Neurons in routed experts."""
        return self.experts * self.expert_width

    @property
    def total(self) -> int:
        """All neurons of the layer."""
        return self.routed + self.width


class Neurons(Sequence[Neuron]):
    """Every FFN neuron of a model, layer by layer; nothing is materialised.

    A layer's neurons are numbered in columns: routed experts by number, then the dense FFN or the shared expert.

    Attributes:
        shapes: Each layer's shape.
        widths: Neurons of each layer.
    """

    def __init__(self, layers: Sequence[LayerShape | int]) -> None:
        self.shapes = tuple(LayerShape(0, 0, layer) if isinstance(layer, int) else layer for layer in layers)
        self.widths = tuple(shape.total for shape in self.shapes)
        self._starts = tuple(accumulate(self.widths, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Neuron]:
        return (self.at(layer, column) for layer, width in enumerate(self.widths) for column in range(width))

    @overload
    def __getitem__(self, position: int) -> Neuron: ...
    @overload
    def __getitem__(self, position: slice) -> list[Neuron]: ...
    def __getitem__(self, position: int | slice) -> Neuron | list[Neuron]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        rest = position + len(self) if position < 0 else position
        for layer, width in enumerate(self.widths):
            if 0 <= rest < width:
                return self.at(layer, rest)
            rest -= width
        raise IndexError(position)

    def __contains__(self, neuron: object) -> bool:
        if not isinstance(neuron, Neuron) or not 0 <= neuron.layer < len(self.shapes) or neuron.index < 0:
            return False
        shape = self.shapes[neuron.layer]
        if neuron.expert is None:
            return neuron.index < shape.width
        return 0 <= neuron.expert < shape.experts and neuron.index < shape.expert_width

    def at(self, layer: int, column: int) -> Neuron:
        """The neuron in a column of a layer."""
        shape = self.shapes[layer]
        if column < shape.routed:
            return Neuron(layer, column % shape.expert_width, column // shape.expert_width)
        return Neuron(layer, column - shape.routed)

    def column(self, neuron: Neuron) -> int:
        """The column of a neuron among those of its layer, as `write_matrix` and `capturing` order them."""
        shape = self.shapes[neuron.layer]
        if neuron.expert is None:
            return shape.routed + neuron.index
        return neuron.expert * shape.expert_width + neuron.index

    def flat_index(self, neuron: Neuron) -> int:
        """Position of a neuron in this sequence."""
        return self._starts[neuron.layer] + self.column(neuron)
