"""Cells of circuits: several neurons changed together, directions injected, and what either does to F."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from controlwindow.behaviors.prompts import Split
from controlwindow.cells.base import Cell
from controlwindow.instruments.operations import Positions

SetOperation = Literal["scale", "patch"]
"""Multiply activations (0 ablates), or put the perturbed prompt's activations in their place."""

DirectionName = Literal["objective", "mean_difference", "random"]
"""d_F, the mean difference of residuals between both states of the behavior, or a random direction."""


@dataclass(frozen=True)
class SetCell(Cell):
    """Rollouts of a set of neurons scaled together on prompts of a behavior.

    Attributes:
        neurons: Names of the neurons, in any order that the planner keeps to.
        factor: What their activations are multiplied by: 0 ablates, above 1 amplifies (CNA's m).
        positions: "all" or "generated".
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
        sample_seed: None for greedy decoding, a seed for sampling at temperature 1.
    """

    rolls_out = True

    neurons: tuple[str, ...]
    factor: float = 0.0
    positions: Positions = "all"
    horizon: int = 32
    prompts: tuple[str, ...] = ()
    sample_seed: int | None = None

    def changed_neurons(self) -> tuple[str, ...]:
        """The scaled set."""
        return self.neurons

    def batch(self) -> tuple[str, ...]:
        """Samples of one seed run together."""
        return (*super().batch(), str(self.sample_seed))


@dataclass(frozen=True)
class DirectionCell(Cell):
    """Rollouts with a direction injected into the residual stream on prompts of a behavior.

    Attributes:
        direction: Which direction; its sign points from the source state to the target state.
        layer: The block at whose output it is added.
        strength: Length of what is added, as a share of the median ‖r_L‖ of generic text.
        found_on: The split that the direction is measured on.
        source: The behavior that it is measured on; empty for the cell's own.
        seed: Seed of a random direction.
        positions: "all" or "generated".
        horizon: Tokens to generate.
        prompts: Ids of the prompts, in order; empty for all of the split.
        sample_seed: None for greedy decoding, a seed for sampling at temperature 1.
    """

    rolls_out = True

    direction: DirectionName
    layer: int
    strength: float
    found_on: Split = "find"
    source: str = ""
    seed: int = 0
    positions: Positions = "all"
    horizon: int = 32
    prompts: tuple[str, ...] = ()
    sample_seed: int | None = None

    def batch(self) -> tuple[str, ...]:
        """Samples of one seed run together."""
        return (*super().batch(), str(self.sample_seed))


@dataclass(frozen=True)
class SetEffectCell(Cell):
    """F of a behavior's pairs, teacher-forced, while the first neurons of a list are changed together.

    Attributes:
        neurons: Names of the neurons, most important first.
        sizes: How many of them are changed, ascending: one measurement for each.
        operation: "scale", or "patch": what the perturbed prompt's activations write, at the positions that emit F's
            texts, in the place of what the neurons write there.
        factor: What activations are multiplied by, for "scale".
        positions: "all" or "generated", for "scale".
        pairs: Ids of the pairs, in order; empty for all of the split.
    """

    neurons: tuple[str, ...]
    sizes: tuple[int, ...]
    operation: SetOperation = "scale"
    factor: float = 0.0
    positions: Positions = "all"
    pairs: tuple[str, ...] = ()

    def changed_neurons(self) -> tuple[str, ...]:
        """The list that is changed."""
        return self.neurons


@dataclass(frozen=True)
class DirectionEffectCell(Cell):
    """F of a behavior's pairs, teacher-forced, with a direction injected at some strengths.

    Attributes:
        direction: Which direction, as in `DirectionCell`.
        layer: The block at whose output it is added.
        strengths: Lengths of what is added, as shares of the median ‖r_L‖ of generic text: one measurement for each.
        found_on: The split that the direction is measured on.
        source: The behavior that it is measured on; empty for the cell's own.
        seed: Seed of a random direction.
        positions: "all" or "generated".
        pairs: Ids of the pairs, in order; empty for all of the split.
    """

    direction: DirectionName
    layer: int
    strengths: tuple[float, ...]
    found_on: Split = "find"
    source: str = ""
    seed: int = 0
    positions: Positions = "all"
    pairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class DirectionsCell(Cell):
    """d_F, and the mean difference of residuals of every layer, measured on a split."""


@dataclass(frozen=True)
class ImportanceCell(Cell):
    """PP's importance of every neuron over a behavior's pairs of a split, with how far its ranking can be trusted.

    Attributes:
        ladder: Sizes of a circuit, ascending, at which the stability of the ranking is measured.
        seed: Seed of the bootstrap over pairs.
        pairs: Ids of the pairs, in order; empty for all of the split.
    """

    ladder: tuple[int, ...]
    seed: int = 0
    pairs: tuple[str, ...] = ()


SteeringCell = SetCell | DirectionCell
"""Rollouts of a set of neurons or of a direction."""

EffectCell = SetEffectCell | DirectionEffectCell
"""Cells that measure F alone, without a rollout."""
