"""PP's perturbation probing as a planner: importance, directions, a sweep on select, and what is reported on evaluate.

Neurons and directions are chosen on the find split, settings of the sweep on the select split, and everything that is
reported is measured on the evaluate split. Controls are part of the plan: every line has random neurons of the same
layers and the same k, and the circuit that shuffled labels give; an injection has random directions of its length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.behaviors.prompts import Split
from controlwindow.cells import (
    Cell,
    DirectionCell,
    DirectionEffectCell,
    DirectionName,
    DirectionsCell,
    EffectCell,
    ImportanceCell,
    RolloutCell,
    Rows,
    SetCell,
    SetEffectCell,
    SteeringCell,
)
from controlwindow.circuits.budget import TRIED, ProbeSettings
from controlwindow.errors import ScreenError
from controlwindow.instruments.arrays import unpack_array
from controlwindow.models import Neuron
from controlwindow.statistics import stable_seed

Intervention = Literal["ablate", "amplify", "patch", "inject_objective", "inject_mean_difference"]

INJECTIONS: dict[Intervention, DirectionName] = {
    "inject_objective": "objective",
    "inject_mean_difference": "mean_difference",
}
ROLLED_OUT: tuple[Intervention, ...] = ("ablate", "amplify", *INJECTIONS)
"""Interventions whose effect on generated text is measured; a patch has no meaning beyond its prompt."""

CIRCUIT = "circuit"
"""Name of the set that is probed, beside its controls."""

LEAST_ELIGIBLE = 8
"""Eligible prompts of evaluate below which nothing is reported of generated text."""

LEAST_IMPORTANCE = 1e-6
"""|mean I| in logits below which there is only rounding."""

LEAST_TRIED = 4
"""Eligible prompts of select below which settings are chosen by F alone."""


class Setting(NamedTuple):
    """One setting of an intervention.

    Attributes:
        intervention: What is done.
        size: Neurons changed; 0 for an injection.
        factor: What activations are multiplied by.
        layer: Layer of an injection, else −1.
        strength: Length of an injection, else 0.
    """

    intervention: Intervention
    size: int = 0
    factor: float = 0.0
    layer: int = -1
    strength: float = 0.0


class ProbePlanner:
    """Asks for the cells of a probe, stage by stage.

    Args:
        settings: What is done.
        neurons: Every neuron of the model, in order.

    Attributes:
        rows: Rows of every cell taken so far.
    """

    def __init__(self, settings: ProbeSettings, neurons: Sequence[Neuron]) -> None:
        self.settings = settings
        self.neurons = neurons
        self.rows: dict[Cell, Rows] = {}
        layers = np.fromiter((neuron.layer for neuron in neurons), dtype=np.int64, count=len(neurons))
        self._layers: NDArray[np.int64] = layers

    def next_cells(self) -> Sequence[Cell]:
        """The cells of the first stage that is not complete."""
        for stage in (self.first_cells, self.sweep_cells, self.tried_cells, self.reported_cells):
            missing = [cell for cell in dict.fromkeys(stage()) if cell not in self.rows]
            if missing:
                return missing
        return []

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take rows.

        Raises:
            ScreenError: The perturbation moves no neuron's reading of F, so there is no circuit.
        """
        self.rows |= results
        importance = self.importance_cell("find")
        if importance in results and np.abs(self.importance("find")).max() < LEAST_IMPORTANCE:
            raise ScreenError(
                f"behavior '{self.settings.behavior}': no neuron has an importance other than 0, so there is no top k",
                "use pairs whose two prompts differ for the model, and target and control texts that F can tell apart",
            )

    # What each stage asks for.

    def importance_cell(self, split: Split, behavior: str | None = None) -> ImportanceCell:
        """PP's importance on a split, of the behavior or of one with shuffled labels."""
        settings = self.settings
        if behavior is None:
            pairs = settings.pairs[split]
            return ImportanceCell(settings.behavior, split, settings.ladder, settings.seed, pairs)
        # A behavior with shuffled labels numbers its pairs itself.
        pairs = tuple(f"find.x{place:03d}" for place in range(len(settings.pairs["find"])))
        return ImportanceCell(behavior, split, settings.ladder, settings.seed, pairs)

    def undosed_cell(self, split: Split) -> RolloutCell:
        """Undosed rollouts of a split."""
        settings = self.settings
        return RolloutCell(settings.behavior, split, horizon=settings.horizon, positions=settings.positions)

    def pairs_cell(self) -> RolloutCell:
        """Undosed rollouts of both sides of the evaluated pairs."""
        settings = self.settings
        names = tuple(name for pair in settings.pairs["evaluate"] for name in (pair, f"{pair}~"))
        return RolloutCell(
            f"{settings.behavior}.pairs",
            "evaluate",
            horizon=settings.horizon,
            positions=settings.positions,
            prompts=names,
        )

    def first_cells(self) -> list[Cell]:
        """Importance, directions and undosed rollouts."""
        settings = self.settings
        return [
            self.importance_cell("find"),
            self.importance_cell("evaluate"),
            *(self.importance_cell("find", name) for name in settings.shuffled),
            *(DirectionsCell(name, "find") for name in (settings.behavior, *settings.shuffled)),
            self.undosed_cell("select"),
            self.undosed_cell("evaluate"),
            self.pairs_cell(),
        ]

    def sweep_cells(self) -> list[Cell]:
        """Every setting's effect on F, on the select split."""
        settings = self.settings
        grid: list[Cell] = [
            self.direction_effect("select", name, layer, settings.strengths)
            for name in INJECTIONS
            for layer in settings.layers
        ]
        return [*self.ladder_cells("select", CIRCUIT), *grid]

    def tried_cells(self) -> list[Cell]:
        """Rollouts of the best settings by F, on the select split."""
        prompts = self.eligible("select")
        if len(prompts) < LEAST_TRIED:
            return []
        return [self.rollout_cell("select", s, CIRCUIT) for name in ROLLED_OUT for s in self.best_by_f(name)[:TRIED]]

    def reported_cells(self) -> list[Cell]:
        """Ladders, chosen injections, and rollouts of what was chosen, with their controls, on evaluate."""
        cells: list[Cell] = []
        for name in self.sets():
            cells += self.ladder_cells("evaluate", name)
        for intervention in INJECTIONS:
            cells += [self.injection_effect(self.chosen(intervention), name) for name in self.sets()]
        if len(self.eligible("evaluate")) >= LEAST_ELIGIBLE:
            for intervention in ROLLED_OUT:
                chosen = self.chosen(intervention)
                names = [name for name in self.sets() if self.reaches(name, chosen.size)]
                cells += [self.rollout_cell("evaluate", chosen, name) for name in names]
        return cells

    # Cells of one setting.

    def ladder_cells(self, split: Split, name: str) -> list[EffectCell]:
        """The ladders of one set: ablation, amplifications, patch."""
        if not self.reaches(name, self.settings.ladder[0]):
            return []
        return [self.ladder_cell(split, name, setting) for setting in self.ladders()]

    def ladders(self) -> list[Setting]:
        """What is done to sets, at every size of the ladder."""
        factors = self.settings.factors
        return [Setting("ablate"), *(Setting("amplify", factor=factor) for factor in factors), Setting("patch")]

    def ladder_cell(self, split: Split, name: str, setting: Setting) -> SetEffectCell:
        """One ladder of one set, as far as the set reaches."""
        settings, members = self.settings, self.members(name)
        return SetEffectCell(
            settings.behavior,
            split,
            members,
            tuple(size for size in settings.ladder if size <= len(members)),
            "patch" if setting.intervention == "patch" else "scale",
            setting.factor,
            settings.positions,
            settings.pairs[split],
        )

    def direction_effect(
        self, split: Split, intervention: Intervention, layer: int, strengths: tuple[float, ...], name: str = CIRCUIT
    ) -> DirectionEffectCell:
        """F with a direction injected at some strengths; `name` is the direction itself or one of its controls."""
        settings = self.settings
        direction, source, seed = self._direction(intervention, name)
        return DirectionEffectCell(
            settings.behavior,
            split,
            direction,
            layer,
            strengths,
            "find",
            source,
            seed,
            settings.positions,
            settings.pairs[split],
        )

    def injection_effect(self, setting: Setting, name: str) -> DirectionEffectCell:
        """F on evaluate under a chosen injection or one of its controls."""
        return self.direction_effect("evaluate", setting.intervention, setting.layer, (setting.strength,), name)

    def rollout_cell(self, split: Split, setting: Setting, name: str) -> SteeringCell:
        """Rollouts of a setting with a set or a direction."""
        settings, prompts = self.settings, self.eligible(split)
        if setting.intervention in INJECTIONS:
            direction, source, seed = self._direction(setting.intervention, name)
            return DirectionCell(
                settings.behavior,
                split,
                direction,
                setting.layer,
                setting.strength,
                "find",
                source,
                seed,
                settings.positions,
                settings.horizon,
                prompts,
            )
        return SetCell(
            settings.behavior,
            split,
            self.members(name)[: setting.size],
            setting.factor,
            settings.positions,
            settings.horizon,
            prompts,
        )

    def _direction(self, intervention: Intervention, name: str) -> tuple[DirectionName, str, int]:
        """Which direction a name stands for: its kind, the behavior it is measured on, and a seed."""
        kind, _, draw = name.partition(":")
        if kind == "random":
            return "random", "", stable_seed("probe direction", self.settings.seed, draw) % 2**31
        return INJECTIONS[intervention], draw if kind == "shuffled" else "", 0

    # What was chosen on the way.

    def importance(self, split: Split, behavior: str | None = None) -> NDArray[np.float64]:
        """Mean I of every neuron."""
        return unpack_array(self.rows[self.importance_cell(split, behavior)][0]["mean"])

    def sets(self) -> list[str]:
        """The circuit and its control sets, by name; for injections the names stand for directions."""
        return [CIRCUIT, *self.controls()]

    def reaches(self, name: str, size: int) -> bool:
        """Whether a set has so many neurons; directions, of size 0, always do."""
        return size == 0 or len(self.members(name)) >= size

    def controls(self) -> list[str]:
        """Names of the control draws."""
        random = [f"random:{draw}" for draw in range(self.settings.random_draws)]
        return [*random, *(f"shuffled:{name}" for name in self.settings.shuffled)]

    def members(self, name: str) -> tuple[str, ...]:
        """Neurons of a set, as many as the ladder's largest size, most important first."""
        largest = self.settings.ladder[-1]
        kind, _, draw = name.partition(":")
        if kind == "random":
            return tuple(str(self.neurons[place]) for place in self._matched(int(draw), largest))
        return tuple(str(self.neurons[place]) for place in self.top(largest, draw or None))

    def top(self, size: int, behavior: str | None = None) -> list[int]:
        """Places of the top neurons by |mean I| on find; ties go by the order of neurons."""
        found = self.rows[self.importance_cell("find", behavior)][0]["top"]
        if len(found) >= size:
            return [int(place) for place in found[:size]]
        order = np.argsort(-np.abs(self.importance("find", behavior)), kind="stable")
        return [int(place) for place in order[:size]]

    def _matched(self, draw: int, size: int) -> list[int]:
        """Random neurons outside the circuit, each in the layer of the one whose place it takes."""
        circuit = self.top(size)
        generator = np.random.default_rng(stable_seed("probe set", self.settings.behavior, self.settings.seed, draw))
        pools: dict[int, list[int]] = {}
        for layer in sorted({int(self._layers[place]) for place in circuit}):
            others = np.setdiff1d(np.flatnonzero(self._layers == layer), circuit)
            pools[layer] = [int(place) for place in generator.permutation(others)]
        found = []
        for place in circuit:
            pool = pools[int(self._layers[place])]
            if not pool:
                # Small layers run out of others; larger sizes then have no control, and are marked so.
                break
            found.append(pool.pop())
        return found

    def eligible(self, split: Split) -> tuple[str, ...]:
        """Prompts of a split whose undosed answer shows the source state."""
        settings, last = self.settings, str(self.settings.horizon)
        rows = self.rows[self.undosed_cell(split)]
        shown = {row["prompt"] for row in rows if row["outcomes"][last] == settings.source_outcome}
        return tuple(name for name in settings.prompts[split] if name in shown)

    def shift(self, cell: EffectCell, key: float) -> NDArray[np.float64]:
        """How far F moved towards the target at one size or strength, in nats of log-odds, [pairs]."""
        return np.array([after["log_odds"] - before["log_odds"] for before, after in self.readings(cell, key)])

    def readings(self, cell: EffectCell, key: float) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Rows before and after, pair by pair, at one size or strength."""
        name = "size" if isinstance(cell, SetEffectCell) else "strength"
        rows = self.rows[cell]
        before = [row for row in rows if row[name] == 0]
        after = [row for row in rows if row[name] == key]
        return list(zip(before, after, strict=True))

    def best_by_f(self, intervention: Intervention) -> list[Setting]:
        """Settings of an intervention, those that move F furthest towards the target on select first."""
        settings, found = self.settings, []
        if intervention in INJECTIONS:
            for layer in settings.layers:
                cell = self.direction_effect("select", intervention, layer, settings.strengths)
                for strength in settings.strengths:
                    setting = Setting(intervention, layer=layer, strength=strength)
                    found.append((float(self.shift(cell, strength).mean()), setting))
        else:
            for ladder in (ladder for ladder in self.ladders() if ladder.intervention == intervention):
                cell_of_set = self.ladder_cell("select", CIRCUIT, ladder)
                for size in settings.ladder:
                    found.append((float(self.shift(cell_of_set, size).mean()), ladder._replace(size=size)))
        return [setting for _, setting in sorted(found, key=lambda item: -item[0])]

    def chosen(self, intervention: Intervention) -> Setting:
        """The setting that is reported: the most coherent flips on select among those tried, then by F."""
        best = self.best_by_f(intervention)
        tried = [s for s in best[:TRIED] if intervention in ROLLED_OUT and self._tried(s) in self.rows]
        return max(tried, key=lambda s: self.flip_rate(self._tried(s))) if tried else best[0]

    def _tried(self, setting: Setting) -> SteeringCell:
        return self.rollout_cell("select", setting, CIRCUIT)

    def flips(self, cell: SteeringCell) -> NDArray[np.bool_]:
        """Which rollouts show a target outcome, [prompts]."""
        targets, last = self.settings.target_outcomes, str(cell.horizon)
        return np.array([row["outcomes"][last] in targets for row in self.rows[cell]], dtype=bool)

    def flip_rate(self, cell: SteeringCell) -> float:
        """Share of rollouts that show a target outcome."""
        return float(self.flips(cell).mean())

    def first_tokens(self) -> bool:
        """Whether F is that of first tokens on the find and on the evaluate split."""
        return all(self.rows[self.importance_cell(split)][0]["first_tokens"] for split in ("find", "evaluate"))
