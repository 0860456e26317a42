"""Which neurons are measured, for which behavior, and whether predictors are fitted on them or scored on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import numpy as np

from controlwindow.catalogue import Card
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.models import Model
from controlwindow.statistics import stable_seed

Role = Literal["calibration", "held_out"]
Source = Literal["planted", "failure", "decoy", "natural", "screened", "random"]

NATURAL: tuple[Source, ...] = ("natural", "screened", "random")
"""Sources of neurons that nobody trained: claims about the law rest on these (method section 5)."""

_PLANTED_CYCLE = 3
"""Of so many planted neurons one is for calibration, the others are held out."""


@dataclass(frozen=True)
class Assignment:
    """One neuron for one behavior.

    Attributes:
        neuron: Its name.
        behavior: The behavior that it is measured for, on both branches.
        role: "calibration" or "held_out"; a neuron has the same role for all behaviors.
        source: Why it was taken; the first of its reasons.
        column: The first neuron of the model that has its write column, where that is another one; None otherwise.
    """

    neuron: str
    behavior: str
    role: Role
    source: Source
    column: str | None = None


def assign(
    model: Model,
    card: Card | None,
    behaviors: Sequence[str],
    ranked: Mapping[str, Sequence[str]],
    silent: frozenset[str],
    sizes: LawSizes,
    columns: Mapping[str, str] | None = None,
) -> tuple[Assignment, ...]:
    """Choose the neurons of a model; all choices follow from the seed.

    Known failures and decoys are held out; of planted controllers one in three is for calibration. Natural controllers
    of the census and the screen's top go to the two roles in turn. Random neurons are drawn layer by layer in turn, so
    that every layer has its share.

    Neurons that share a write column are one case: they have one role, a controller planted twice counts once among
    the planted, and a copy of what is chosen already is drawn by no chance.

    Args:
        model: The model.
        card: The organism's card, or None.
        behaviors: Names of the behaviors.
        ranked: The screen's ranking by behavior, best first.
        silent: Neurons without a budget, which have no dose.
        sizes: How many.
        columns: Neurons that share the write column of an earlier one, with its name (`columns.shared_columns`).
    """
    chosen = _Chosen(silent, columns or {})
    if card is not None:
        for known in card.known:
            if known.behavior in behaviors:
                chosen.add(known.neuron, known.behavior, "held_out", known.role)
        planted = [p for p in card.planted if p.behavior in behaviors]
        planted.sort(key=lambda p: stable_seed("planted", card.name, p.neuron, p.behavior, sizes.seed))
        cases = list(dict.fromkeys(chosen.case(p.neuron) for p in planted))
        for p in planted:
            place = cases.index(chosen.case(p.neuron))
            role: Role = "calibration" if place % _PLANTED_CYCLE == 1 else "held_out"
            chosen.add(p.neuron, p.behavior, role, "planted")
        if card.census is not None:
            for behavior in behaviors:
                names = list(card.census["open"].get(behavior, {}).get("neurons", ()))
                order = np.random.default_rng(stable_seed("natural", behavior, sizes.seed)).permutation(len(names))
                chosen.alternate([names[i] for i in order], behavior, sizes.natural, "natural")
    for behavior in behaviors:
        chosen.alternate(ranked.get(behavior, ()), behavior, sizes.screened, "screened")
    turn = cycle(behaviors)
    fresh = (name for name in _layer_by_layer(model, sizes.seed) if chosen.fresh(name))
    roles: tuple[tuple[Role, int], ...] = (("held_out", sizes.held_out), ("calibration", sizes.calibration))
    for random_role, count in roles:
        for name in islice(fresh, count):
            for behavior in islice(turn, min(sizes.behaviors_each, len(behaviors))):
                chosen.add(name, behavior, random_role, "random")
    return tuple(chosen.assignments)


def known_answers(card: Card | None) -> list[tuple[str, str, int, str]]:
    """What a card knows: neuron, behavior, branch, and "open", "closed" or the failure mode."""
    if card is None:
        return []
    planted = [(p.neuron, p.behavior, int(p.branch), "open") for p in card.planted]
    return planted + [(k.neuron, k.behavior, int(k.branch), k.mode or "closed") for k in card.known]


class _Chosen:
    """Collects assignments: a case keeps its first role, and a neuron its first source for each behavior."""

    def __init__(self, silent: frozenset[str], columns: Mapping[str, str]) -> None:
        self._silent = silent
        self._columns = columns
        self.assignments: list[Assignment] = []
        self._roles: dict[str, Role] = {}
        self._seen: set[tuple[str, str]] = set()

    def case(self, neuron: str) -> str:
        """The neuron that stands for all that share its write column."""
        return self._columns.get(neuron, neuron)

    def fresh(self, neuron: str) -> bool:
        """Whether a neuron can be dosed, and neither it nor a copy of it is chosen."""
        return neuron not in self._silent and self.case(neuron) not in self._roles

    def add(self, neuron: str, behavior: str, role: Role, source: Source) -> None:
        if neuron in self._silent or (neuron, behavior) in self._seen:
            return
        self._seen.add((neuron, behavior))
        case = self.case(neuron)
        self.assignments.append(
            Assignment(neuron, behavior, self._roles.setdefault(case, role), source, None if case == neuron else case)
        )

    def alternate(self, names: Sequence[str], behavior: str, count: int, source: Source) -> None:
        """Take `count` new cases for each role, in turn, held out first."""
        by_case: dict[str, str] = {}
        for name in names:
            if len(by_case) == 2 * count:
                break
            if self.fresh(name):
                by_case.setdefault(self.case(name), name)
        for place, name in enumerate(by_case.values()):
            self.add(name, behavior, "calibration" if place % 2 else "held_out", source)


def _layer_by_layer(model: Model, seed: int) -> Iterator[str]:
    """All neurons in random order within layers, the layers in turn."""
    generator = np.random.default_rng(stable_seed("law neurons", model.fingerprint, seed))
    orders = [generator.permutation(width) for width in model.neurons.widths]
    for place in range(max(model.neurons.widths)):
        for layer, order in enumerate(orders):
            if place < len(order):
                yield str(model.neurons.at(layer, int(order[place])))


def region(layer: int, layers: int) -> str:
    """Early, bulk or late: the first and the last quarter of the blocks, at least one each (ours).

    Example:
        >>> [region(layer, 8) for layer in (0, 1, 2, 5, 6, 7)]
        ['early', 'early', 'bulk', 'bulk', 'late', 'late']
    """
    edge = max(1, layers // 4)
    return "early" if layer < edge else "late" if layer >= layers - edge else "bulk"
