"""Which neurons a circuit is made of, and how far two circuits are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from controlwindow.errors import UsageError
from controlwindow.models import Model, Neuron
from controlwindow.screens.base import CIRCUIT_SHARE, SMALL_CIRCUIT, SMALL_MODEL, circuit_size
from controlwindow.statistics import Interval, exact_interval, percentile_interval, stable_seed

DRAWS = 4000
"""Random circuits that an overlap is compared with."""


class Size(NamedTuple):
    """How many neurons a circuit takes.

    Attributes:
        neurons: How many.
        rule: How that follows from what was asked.
    """

    neurons: int
    rule: str


def circuit_top(asked: str | int, neurons: int) -> Size:
    """Read the size of a circuit: a share such as "0.1%", or a number of neurons.

    CNA's 0.1 % is less than a hundred neurons in models below 10⁵, so there it stands for a fixed number (method
    section 4). Other shares are taken as they are.

    Args:
        asked: What was asked.
        neurons: FFN neurons of the model.

    Raises:
        UsageError: It is neither, or it comes to no neuron, or to more than there are.

    Example:
        >>> circuit_top("0.1%", 3072).neurons, circuit_top("0.1%", 500_000).neurons, circuit_top("16", 3072).neurons
        (32, 500, 16)
    """
    text = str(asked).replace(" ", "")
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else None
        count = int(text) if share is None else round(share * neurons)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--top is {asked!r}", "write a share or a number of neurons, as in 0.1% or 16") from error
    rule = f"{count} neurons" if share is None else f"{share:.3g} of {neurons:,} neurons"
    if share is not None and abs(share - CIRCUIT_SHARE) < 1e-9:
        count = min(circuit_size(neurons), neurons)
        if neurons < SMALL_MODEL:
            rule = f"{SMALL_CIRCUIT} neurons, which stand for 0.1 % in models below {SMALL_MODEL:,} neurons"
    if count < 1:
        raise UsageError(
            f"--top {asked} of {neurons:,} neurons comes to an empty circuit",
            f"ask for at least one neuron, as in --top 1, or --top {100 / neurons:.2g}%",
        )
    if count > neurons:
        raise UsageError(f"--top {asked} asks for {count:,} neurons of {neurons:,}", "ask for fewer")
    return Size(count, rule)


@dataclass(frozen=True)
class Circuit:
    """A set of neurons in the order of its screen.

    Attributes:
        neurons: Their names.
        scores: Their scores.
        signs: The branch that each score speaks for.
    """

    neurons: tuple[str, ...]
    scores: tuple[float, ...]
    signs: tuple[int, ...]

    @classmethod
    def of(cls, table: pl.DataFrame, size: int, left_out: frozenset[str] = frozenset()) -> Circuit:
        """The best of a screen's ranking.

        Args:
            table: The ranking.
            size: How many.
            left_out: Neurons that are not taken, the universal ones.

        Raises:
            UsageError: Too few are ranked.
        """
        kept = table.filter(~pl.col("neuron").is_in(list(left_out)))
        if len(kept) < size:
            raise UsageError(
                f"the screen ranks {len(kept):,} neurons, and a circuit of {size:,} was asked for",
                "ask for a smaller --top, or choose a --screen that ranks every neuron",
            )
        best = kept.head(size)
        return cls(tuple(best["neuron"]), tuple(best["score"]), tuple(int(sign) for sign in best["sign"]))

    def layers(self) -> dict[int, tuple[str, ...]]:
        """Its neurons by layer, ascending."""
        return by_layer(self.neurons)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"neurons": list(self.neurons), "scores": list(self.scores), "signs": list(self.signs)}

    @classmethod
    def from_json(cls, values: Mapping[str, Sequence[Any]]) -> Circuit:
        """Read `to_json`."""
        return cls(tuple(values["neurons"]), tuple(values["scores"]), tuple(values["signs"]))


def by_layer(neurons: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Names of neurons by layer, layers ascending, the order within kept.

    Example:
        >>> by_layer(["L2.N1", "L0.N5", "L2.N0"])
        {0: ('L0.N5',), 2: ('L2.N1', 'L2.N0')}
    """
    found: dict[int, list[str]] = {}
    for name in neurons:
        found.setdefault(Neuron.parse(name).layer, []).append(name)
    return {layer: tuple(names) for layer, names in sorted(found.items())}


class Overlap(NamedTuple):
    """How many neurons two circuits share, beside what random circuits of the same layers would.

    Attributes:
        shared: Neurons in both.
        size: Neurons of the first.
        share: shared / size.
        interval: Exact 95 % interval of that share.
        chance: Share expected of random circuits with the layers of either.
        chance_interval: Middle 95 % of random circuits.
        p: Share of random circuits that overlap as much, counting the observed one.
    """

    shared: int
    size: int
    share: float
    interval: Interval
    chance: float
    chance_interval: Interval
    p: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**self._asdict(), "interval": list(self.interval), "chance_interval": list(self.chance_interval)}


def overlap(model: Model, first: Sequence[str], second: Sequence[str], seed: int) -> Overlap:
    """Compare two circuits of models of one shape.

    Chance is that of random circuits with the layers of each: per layer the number shared is hypergeometric, and layers
    are independent. So it counts as no overlap that both prefer a layer.

    Args:
        model: Either model.
        first: Names of the first circuit's neurons.
        second: Names of the second's.
        seed: Seed of the random circuits.
    """
    widths = model.neurons.widths
    counts = [Counter(Neuron.parse(name).layer for name in names) for names in (first, second)]
    generator = np.random.default_rng(stable_seed("overlap", seed, *sorted(first), *sorted(second)))
    drawn = np.zeros(DRAWS)
    expected = 0.0
    for layer in sorted(counts[0].keys() & counts[1].keys()):
        mine, theirs = counts[0][layer], counts[1][layer]
        drawn += generator.hypergeometric(mine, widths[layer] - mine, theirs, size=DRAWS)
        expected += mine * theirs / widths[layer]
    shared, size = len(set(first) & set(second)), len(first)
    low, high = percentile_interval(drawn)
    return Overlap(
        shared,
        size,
        shared / size,
        exact_interval(shared, size),
        expected / size,
        Interval(low / size, high / size),
        float((1 + (drawn >= shared).sum()) / (1 + DRAWS)),
    )
