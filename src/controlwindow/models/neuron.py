"""A neuron's name: `L12.N345`, or `L12.E3.N345` in a mixture of experts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlwindow.errors import NeuronError

_PATTERN = re.compile(r"L(\d+)(?:\.E(\d+))?\.N(\d+)", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Neuron:
    """One FFN unit: one input coordinate of a block's FFN output projection.

    Attributes:
        layer: Block, counted from 0.
        index: Coordinate of the output projection's input, counted from 0.
        expert: Expert in a mixture of experts, else None.

    Example:
        >>> Neuron.parse("L3.N7")
        Neuron(layer=3, index=7, expert=None)
        >>> str(Neuron(12, 345, expert=3))
        'L12.E3.N345'
    """

    layer: int
    index: int
    expert: int | None = None

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
