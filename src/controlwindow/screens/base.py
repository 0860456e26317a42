"""What every screen shares: a name, a planner that asks for cells, and one ranked table."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import ActivationCell, Cell, Rows
from controlwindow.errors import ScreenError
from controlwindow.instruments.arrays import pack_bytes, unpack_bytes
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.dosing import model_budgets
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.moments import LastPosition
from controlwindow.models import Model
from controlwindow.plugins import SCREENS, import_modules, load_plugin, plugin_names
from controlwindow.screens.controls import CONTROLS, shuffle_labels
from controlwindow.statistics import stable_seed

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

DEFAULT_SCREEN = "causal"
"""The screen that finds the controllers that are known (docs/screens.md)."""

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
            **{name: pack_bytes(array) for name, array in arrays.items()},
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Activations:
        """Read `to_row`."""
        names = [f.name for f in fields(cls) if f.name != "counts"]
        arrays = {name: unpack_bytes(row[name]) for name in names}
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
        control: None; "shuffled" screens on the behavior with its labels shuffled; "random" puts in the place of every
            neuron a random one of its layer, under the same selection.

    Attributes:
        behavior: The behavior that is screened; under the control "shuffled" not the one given.
        cost: What the cells taken so far cost.
        notes: What a reader of the table should know.

    Raises:
        ScreenError: As `check`.
        BehaviorError: As `check`.
    """

    name: ClassVar[str]
    needs_contrast: ClassVar[bool] = True
    needs_rollouts: ClassVar[bool] = False
    passes: ClassVar[float] = 1.0
    """What the screen costs each prompt, in forward passes of it; about."""
    selects: ClassVar[bool] = False
    """Whether the control "random" is taken inside, because the screen selects neurons on the way."""

    def __init__(
        self,
        model: Model,
        behavior: Behavior,
        generic: GenericPass,
        split: Split = "find",
        seed: int = 0,
        control: str | None = None,
    ) -> None:
        self.check(behavior, split, control)
        self.model = model
        self.behavior = shuffle_labels(behavior, split, seed) if control == "shuffled" else behavior
        self.generic = generic
        self.split = split
        self.seed = seed
        self.control = control
        self.cost = Cost()
        self.notes: list[str] = []
        self.rows: dict[Cell, Mapping[str, Any]] = {}

    @classmethod
    def check(cls, behavior: Behavior, split: str = "find", control: str | None = None) -> None:
        """Hold a request against the behavior, before any model is at hand.

        Raises:
            ScreenError: The control is unknown, the split is the one that is evaluated, or the behavior lacks what the
                screen reads.
            BehaviorError: The split has no contrast.
        """
        if control not in (None, *CONTROLS):
            raise ScreenError(f"unknown control {control!r}", f"controls: {', '.join(CONTROLS)}")
        if split not in ("find", "select"):
            raise ScreenError(
                f"a screen does not read the split {split!r}", "use find or select: what is reported must be unseen"
            )
        if cls.needs_contrast or control == "shuffled":
            behavior.contrast("find" if split == "find" else "select")

    @classmethod
    def expected_tokens(cls, model: Model, behavior: Behavior, prompt: float) -> float:
        """Tokens that the screen will pass through the whole model, about; for an estimate of its time.

        Args:
            model: The model.
            behavior: The behavior.
            prompt: Mean length of a prompt in tokens.
        """
        return len(behavior.prompts("find")) * prompt * cls.passes

    def cells(self) -> Sequence[Cell]:
        """Cells that the scores are made of; a screen that goes on from what it finds overrides `next_cells`."""
        return []

    def next_cells(self) -> Sequence[Cell]:
        """The cells not taken yet."""
        return [cell for cell in self.cells() if cell not in self.rows]

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take the rows of cells."""
        for cell, rows in results.items():
            self.rows[cell] = rows[0]
            self.cost = self.cost.plus(rows[0].get("cost") or Cost().to_row())

    @abstractmethod
    def scores(self) -> Floats:
        """One signed score per neuron, all layers in a row."""

    def signs(self) -> Floats:
        """The branch that a score speaks for, +1 or −1 per neuron; by default the score's sign."""
        return np.sign(self.scores())

    def order(self) -> Floats:
        """What neurons are ranked by, largest first; by default the score's size."""
        return np.abs(self.scores())

    def coherence(self) -> Floats:
        """How well prompts agree, 0 to 1; NaN where a screen has no such thing."""
        return np.full(len(self.model.neurons), np.nan)

    def dropped(self) -> dict[str, NDArray[np.bool_]]:
        """Neurons that the screen leaves out of its table on purpose, by reason."""
        return {}

    def extra(self) -> dict[str, pl.Series]:
        """Further columns of the table by name, [neurons] each, in the order of the model's neurons."""
        return {}

    def matched(self) -> NDArray[np.int64]:
        """A random permutation of neurons within their layers, [neurons]: the layer-matched control."""
        generator = np.random.default_rng(stable_seed("matched neurons", self.behavior.name, self.name, self.seed))
        widths = self.model.neurons.widths
        return np.concatenate(
            [sum(widths[:layer]) + generator.permutation(width) for layer, width in enumerate(widths)]
        )

    def table(self) -> pl.DataFrame:
        """The ranking.

        Returns:
            One row per neuron that takes part, best first: neuron, layer, index, score, sign, rank, coherence, budget;
            in a mixture of experts also expert, and what the screen adds. A budget is null where the write vanishes, or
            where generic text is never routed to the neuron's expert.

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
        taken = np.arange(len(neurons))
        if self.control == "random" and not self.selects:
            taken = self.matched()
        reasons = self.dropped()
        left_out = np.any(list(reasons.values()), axis=0) if reasons else np.zeros(len(neurons), dtype=bool)
        columns: dict[str, Any] = {
            "neuron": [str(neuron) for neuron in neurons],
            "layer": [neuron.layer for neuron in neurons],
            "index": [neuron.index for neuron in neurons],
            "score": scores[taken],
            "sign": self.signs()[taken].astype(np.int64),
            "coherence": self.coherence()[taken],
            "budget": model_budgets(self.model, self.generic),
            "order": self.order()[taken],
            "left_out": left_out[taken],
        }
        names = ["neuron", "layer", "index", "score", "sign", "rank", "coherence", "budget"]
        if any(shape.experts for shape in self.model.neurons.shapes):
            columns["expert"] = pl.Series([neuron.expert for neuron in neurons], dtype=pl.Int64)
            names.insert(3, "expert")
        columns |= (extra := self.extra())
        names += extra
        table = pl.DataFrame(columns).with_columns(pl.col("coherence", "budget").fill_nan(None))
        table = table.filter(~pl.col("left_out"))
        if table.is_empty():
            raise ScreenError(
                f"the screen {self.name} dropped every neuron ({', '.join(reasons)})",
                "use more diverse generic prompts" if "universal" in reasons else "use another screen",
            )
        # The order of neurons breaks ties, so that equal scores rank the same in every run.
        ranked = table.sort("order", descending=True, maintain_order=True)
        return ranked.with_row_index("rank", offset=1).select(names)


class ContrastScreen(Screen):
    """A screen that reads the activations of both sides of the contrast."""

    def cells(self) -> Sequence[Cell]:
        """The behavior's activations."""
        return [ActivationCell(self.behavior.name, self.split)]

    @cached_property
    def activations(self) -> Activations:
        """The activations, once they were measured."""
        return Activations.from_row(self.rows[ActivationCell(self.behavior.name, self.split)])

    def coherence(self) -> Floats:
        """How uniformly X+ differs from X−."""
        return self.activations.coherence

    def dropped(self) -> dict[str, NDArray[np.bool_]]:
        """Universal neurons (CNA)."""
        return {"universal": self.activations.universal >= UNIVERSAL_SHARE}


_SCREENS: dict[str, type[Screen]] = {}
_PACKAGE = "controlwindow.screens"


def register(screen: type[Screen]) -> type[Screen]:
    """Class decorator: make a screen known by its name."""
    _SCREENS[screen.name] = screen
    return screen


def screen_names() -> tuple[str, ...]:
    """Names of the screens there are, those of extensions included."""
    import_modules(_PACKAGE)
    return tuple(sorted({*_SCREENS, *plugin_names(SCREENS)}))


def find_screen(name: str) -> type[Screen]:
    """A screen by name.

    Raises:
        ScreenError: There is none of that name.
        ExtensionError: The extension that has it cannot be loaded.
    """
    import_modules(_PACKAGE)
    if name not in _SCREENS:
        load_plugin(SCREENS, name)
    if name not in _SCREENS:
        raise ScreenError(f"unknown screen {name!r}", f"screens: {', '.join(screen_names())}")
    return _SCREENS[name]
