"""What every screen shares: a name, a planner that asks for cells, and one ranked table."""

from __future__ import annotations

import base64
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from controlwindow.behaviors import Behavior
from controlwindow.errors import ScreenError
from controlwindow.instruments.cells import ActivationCell, Cell, Rows
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.moments import LastPosition
from controlwindow.models import Model
from controlwindow.models.directions import write_norms

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

CIRCUIT_SHARE = 0.001
"""CNA's circuit: the top 0.1 % of all FFN neurons."""

SMALL_MODEL, SMALL_CIRCUIT = 100_000, 32
"""Below 10⁵ neurons 0.1 % is a handful at most, so a fixed K serves (method section 4)."""

UNIVERSAL_SHARE = 0.8
"""A neuron in the circuit-sized top of this share of diverse prompts is universal and dropped (CNA)."""


def circuit_size(neurons: int) -> int:
    """How many neurons a circuit holds in a model of this size."""
    return SMALL_CIRCUIT if neurons < SMALL_MODEL else round(CIRCUIT_SHARE * neurons)


@dataclass(frozen=True)
class Activations:
    """Moments of every neuron's activation at the last prompt position, all layers in a row, [neurons] each.

    Attributes:
        positive_mean: Mean over X+.
        negative_mean: Mean over X−.
        positive_square: Mean square over X+.
        negative_square: Mean square over X−.
        low: Smallest activation over both sides.
        high: Largest activation over both sides.
        universal: Share of diverse prompts on which the neuron's |a| is in the circuit-sized top.
        counts: Prompts in X+ and X−.
    """

    positive_mean: Floats
    negative_mean: Floats
    positive_square: Floats
    negative_square: Floats
    low: Floats
    high: Floats
    universal: Floats
    counts: tuple[int, int]

    @classmethod
    def of(cls, found: LastPosition, counts: tuple[int, int]) -> Activations:
        """From moments over the groups X+ and X−, in this order, and how many prompts each has."""
        return cls(
            positive_mean=found.mean[0],
            negative_mean=found.mean[1],
            positive_square=found.mean_square[0],
            negative_square=found.mean_square[1],
            low=found.low,
            high=found.high,
            universal=found.top_share,
            counts=counts,
        )

    @property
    def difference(self) -> Floats:
        """δ = mean a(X+) − mean a(X−) (CNA)."""
        return self.positive_mean - self.negative_mean

    @property
    def coherence(self) -> Floats:
        """|δ| over the root mean square of a(X+) about mean a(X−): 1 when all of X+ show the same contrast."""
        square = self.positive_square - 2 * self.positive_mean * self.negative_mean + self.negative_mean**2
        root = np.sqrt(np.maximum(square, 0))
        return np.asarray(np.where(root > 0, np.minimum(np.abs(self.difference) / np.where(root > 0, root, 1), 1), 0.0))

    def to_row(self) -> dict[str, Any]:
        """As JSON values: float64 arrays in base64."""
        arrays = {name: value for name, value in vars(self).items() if name != "counts"}
        return {
            "counts": list(self.counts),
            **{name: base64.b64encode(np.asarray(a, "<f8").tobytes()).decode() for name, a in arrays.items()},
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Activations:
        """Read `to_row`."""
        arrays = {name: np.frombuffer(base64.b64decode(text), "<f8") for name, text in row.items() if name != "counts"}
        return cls(counts=(row["counts"][0], row["counts"][1]), **arrays)


class Coverage(NamedTuple):
    """How many of a model's neurons a screen has a score for.

    Example:
        >>> str(Coverage(3072, 3072))
        'covers 3072 of 3072 neurons'
    """

    covered: int
    neurons: int

    @property
    def whole(self) -> bool:
        """Whether no neuron is missing."""
        return self.covered == self.neurons

    def __str__(self) -> str:
        return f"covers {self.covered} of {self.neurons} neurons"


class Screen(ABC):
    """Ranks every FFN neuron for a behavior. A planner: it asks for cells, then gives its table.

    Args:
        model: The model.
        behavior: The behavior.
        generic: The model's generic pass.
        split: Split whose prompts are used; never the one that is evaluated.
        seed: Seed of what is random.
    """

    name: ClassVar[str]
    needs_activations: ClassVar[bool] = True

    def __init__(
        self, model: Model, behavior: Behavior, generic: GenericPass, split: str = "find", seed: int = 0
    ) -> None:
        self.model = model
        self.behavior = behavior
        self.generic = generic
        self.split = split
        self.seed = seed
        self.activations: Activations | None = None

    def next_cells(self) -> Sequence[Cell]:
        """The behavior's activations, once, if the screen reads them."""
        if self.needs_activations and self.activations is None:
            return [ActivationCell(self.behavior.name, self.split)]
        return []

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take the activations."""
        for rows in results.values():
            self.activations = Activations.from_row(rows[0])

    @abstractmethod
    def scores(self) -> Floats:
        """One signed score per neuron, all layers in a row; ranked by size."""

    def table(self) -> pl.DataFrame:
        """The ranking.

        Returns:
            One row per neuron that takes part, best first: neuron, layer, index, score, sign, rank, coherence, budget.
            A budget is null where the write vanishes.

        Raises:
            ScreenError: No neuron is left, or a neuron has no finite score.
        """
        scores, neurons = self.scores(), list(self.model.neurons)
        coverage = Coverage(int(np.isfinite(scores).sum()), len(neurons))
        if not coverage.whole:
            raise ScreenError(
                f"the screen {self.name} {coverage} of {self.model.name}, and a screen covers all or none",
                "activations that overflow half precision are read in full with --dtype float32",
            )
        logger.info("the screen %s %s of %s", self.name, coverage, self.model.name)
        norms = np.concatenate(
            [write_norms(self.model, layer).cpu().double().numpy() for layer in range(self.model.layers)]
        )
        residuals = np.repeat(self.generic.residual_norm, self.model.neurons.widths)
        found = self.activations
        table = pl.DataFrame(
            {
                "neuron": [str(neuron) for neuron in neurons],
                "layer": [neuron.layer for neuron in neurons],
                "index": [neuron.index for neuron in neurons],
                "score": scores,
                "sign": np.sign(scores).astype(np.int64),
                "coherence": np.full(len(scores), np.nan) if found is None else found.coherence,
                "budget": np.where(norms > 0, residuals / np.where(norms > 0, norms, 1), np.nan),
                "universal": np.zeros(len(scores)) if found is None else found.universal,
            }
        ).with_columns(pl.col("coherence", "budget").fill_nan(None))
        table = table.filter(pl.col("universal") < UNIVERSAL_SHARE).drop("universal")
        if table.is_empty():
            raise ScreenError(
                f"the screen {self.name} dropped every neuron as universal", "use more diverse generic prompts"
            )
        # The order of neurons breaks ties, so that equal scores rank the same in every run.
        ranked = table.with_columns(size=pl.col("score").abs()).sort("size", descending=True, maintain_order=True)
        return ranked.drop("size").with_row_index("rank", offset=1).select(
            "neuron", "layer", "index", "score", "sign", "rank", "coherence", "budget"
        )  # fmt: skip


_SCREENS: dict[str, type[Screen]] = {}


def register(screen: type[Screen]) -> type[Screen]:
    """Class decorator: make a screen known by its name."""
    _SCREENS[screen.name] = screen
    return screen


def screen_names() -> tuple[str, ...]:
    """Names of the screens there are."""
    return tuple(sorted(_SCREENS))


def find_screen(name: str) -> Callable[..., Screen]:
    """A screen by name.

    Raises:
        ScreenError: There is none of that name.
    """
    if name not in _SCREENS:
        raise ScreenError(f"unknown screen {name!r}", f"screens: {', '.join(screen_names())}")
    return _SCREENS[name]
