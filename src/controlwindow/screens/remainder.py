"""What a narrowing leaves behind, sampled: so that how much it loses can be estimated without bias.

A stage that judges all neurons cheaply keeps the best. Some of those it left behind are drawn at random, layer by
layer, with probabilities that are recorded, and measured as the best are. Each drawn neuron then stands for
1/probability of those left behind (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import Interval, exact_interval, stable_seed

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class Remainder(NamedTuple):
    """A draw from what was left behind.

    Attributes:
        drawn: Places of the neurons drawn, ascending.
        inclusion: Probability with which each neuron came to be measured, [neurons]: 1 for those kept, else that of
            its layer's draw.
    """

    drawn: Places
    inclusion: Floats


def draw_remainder(layers: Places, kept: Places, one_in: int, *seed: object) -> Remainder:
    """Draw one in so many of each layer's neurons that were left behind, at least one where there are any.

    Args:
        layers: Layer of every neuron, [neurons].
        kept: Places of those that were kept.
        one_in: How many neurons one drawn stands for, about.
        seed: What the draw depends on.
    """
    inclusion = np.ones(len(layers))
    rest = np.ones(len(layers), dtype=bool)
    rest[kept] = False
    generator = np.random.default_rng(stable_seed("remainder", *seed))
    drawn = []
    for layer in np.unique(layers):
        places = np.flatnonzero(rest & (layers == layer))
        if len(places):
            count = max(1, round(len(places) / one_in))
            inclusion[places] = count / len(places)
            drawn.append(generator.choice(places, count, replace=False))
    return Remainder(np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64), inclusion)


class NarrowingRecall(NamedTuple):
    """How many of those that go on a narrowing had kept.

    Attributes:
        kept: Neurons that it kept and that went on.
        drawn: Neurons drawn from the rest.
        hits: Those of them that went on.
        estimate: Estimated share of all that would go on which the narrowing kept, without bias in its denominator.
        interval: Exact 95 % interval, from that of the share of the rest that would go on.
    """

    kept: int
    drawn: int
    hits: int
    estimate: float
    interval: Interval

    def __str__(self) -> str:
        return (
            f"of the {self.kept + self.hits} neurons that went on, the first stage had kept {self.kept}; of "
            f"{self.drawn} drawn at random from those it left behind, {self.hits} would have gone on: it keeps an "
            f"estimated {self.estimate:.0%} [{self.interval.low:.0%}, {self.interval.high:.0%}]"
        )


def narrowing_recall(remainder: Remainder, went_on: Places) -> NarrowingRecall | None:
    """Estimate what a narrowing lost from who went on after the next stage; None where nobody was left behind.

    Args:
        remainder: The draw.
        went_on: Places of those that went on, drawn ones among them.
    """
    drawn = len(remainder.drawn)
    if not drawn:
        return None
    hits = np.intersect1d(remainder.drawn, went_on)
    kept, rest = len(went_on) - len(hits), float((remainder.inclusion < 1).sum())
    lost = float((1 / remainder.inclusion[hits]).sum())
    low, high = exact_interval(len(hits), drawn)

    def share(left: float) -> float:
        return kept / (kept + left) if kept + left else 1.0

    return NarrowingRecall(kept, drawn, len(hits), share(lost), Interval(share(high * rest), share(low * rest)))
