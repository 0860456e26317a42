"""A ranking of neurons beside what is known: ranks of controllers, failures and decoys, and areas under the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controlwindow.statistics import area_under_roc
from controlwindow.validation.entries import RankedNeuron
from controlwindow.validation.truth import Truth


@dataclass(frozen=True)
class RankedController:
    """A known neuron in a ranking.

    Attributes:
        neuron: Its name.
        role: planted, failure or decoy.
        traits: Traits of a planted controller, and "by ablation" or "by dose".
        rank: Its place, counted from 1; None where the ranking leaves it out.
        sign_right: Whether the ranking's sign is the branch that opens; None where either says nothing, or both do.
        case: What stands for its write column; copies share it, and count once.
    """

    neuron: str
    role: str
    traits: tuple[str, ...]
    rank: int | None
    sign_right: bool | None
    case: str


@dataclass(frozen=True)
class RankingScore:
    """A ranking of one behavior of one organism beside what is known.

    Attributes:
        organism: The organism.
        lineage: Its lineage.
        behavior: The behavior.
        distributed: Whether no single neuron controls it.
        ranked: Neurons in the ranking.
        neurons: Neurons of the model; None where its card does not say.
        known: Planted controllers, constructed failures and decoys.
        natural_ranks: Place of every natural controller among the census' neurons alone, ties at their middle.
        sampled: Neurons of the census that are known open or closed.
        planted_auc: Probability that a planted neuron, copies among them, ranks above a neuron that is known closed.
        natural_auc: The same for natural controllers, against the census' closed neurons.
    """

    organism: str
    lineage: str
    behavior: str
    distributed: bool
    ranked: int
    neurons: int | None
    known: tuple[RankedController, ...]
    natural_ranks: tuple[tuple[str, float], ...]
    sampled: int
    planted_auc: float | None
    natural_auc: float | None

    @property
    def planted(self) -> tuple[RankedController, ...]:
        """The planted controllers."""
        return tuple(k for k in self.known if k.role == "planted")

    def cases(self, *roles: str, trait: str | None = None) -> tuple[RankedController, ...]:
        """Known neurons of these roles, each write column once: by the copy that ranks highest."""
        best: dict[tuple[str, str], RankedController] = {}
        for k in self.known:
            if k.role in roles and (trait is None or trait in k.traits):
                before = best.get((k.role, k.case))
                if before is None or (k.rank is not None and (before.rank is None or k.rank < before.rank)):
                    best[k.role, k.case] = k
        return tuple(best.values())

    def within(self, depth: int, *roles: str) -> int:
        """How many cases of these roles are among the first places."""
        return sum(k.rank is not None and k.rank <= depth for k in self.cases(*roles))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "organism": self.organism,
            "lineage": self.lineage,
            "behavior": self.behavior,
            "distributed": self.distributed,
            "ranked": self.ranked,
            "neurons": self.neurons,
            "known": [{**vars(k), "traits": list(k.traits)} for k in self.known],
            "natural": [{"neuron": name, "rank_in_census": rank} for name, rank in self.natural_ranks],
            "sampled": self.sampled,
            "planted_auc": self.planted_auc,
            "natural_auc": self.natural_auc,
        }


def score_ranking(truth: Truth, ranking: Sequence[RankedNeuron]) -> RankingScore:
    """Hold a ranking, best first, against what is known; neurons left out share its last place."""
    places = {one.neuron: place for place, one in enumerate(ranking, start=1)}
    signs = {one.neuron: one.sign for one in ranking}
    last = len(ranking) + 1
    branches: dict[str, set[int]] = {}
    for controller in truth.planted:
        branches.setdefault(controller.neuron, set()).add(controller.branch)
    known: list[RankedController] = []
    for controller in truth.planted:
        if any(k.neuron == controller.neuron for k in known):
            continue
        sign, even = signs.get(controller.neuron), len(branches[controller.neuron]) == 2
        even |= "zero_gradient" in controller.traits
        known.append(
            RankedController(
                controller.neuron,
                "planted",
                (*controller.traits, f"by {controller.by}"),
                places.get(controller.neuron),
                None if sign is None or even else sign == controller.branch,
                controller.case or controller.neuron,
            )
        )
    for closed in truth.constructed:
        # A neuron that opens on one branch may be a known failure on the other: it is worth its place.
        if not any(k.neuron == closed.neuron for k in known):
            case = closed.case or closed.neuron
            known.append(RankedController(closed.neuron, closed.role, (), places.get(closed.neuron), None, case))
    natural = tuple(dict.fromkeys(c.neuron for c in truth.natural if c.neuron not in branches))
    shut = truth.closed_in_census
    constructed = [k.neuron for k in known if k.role != "planted"]

    def heights(names: Sequence[str]) -> list[float]:
        return [-float(places.get(name, last)) for name in names]

    return RankingScore(
        organism=truth.organism,
        lineage=truth.lineage,
        behavior=truth.behavior,
        distributed=truth.distributed,
        ranked=len(ranking),
        neurons=truth.neurons,
        known=tuple(known),
        natural_ranks=_ranks_in_census(natural, heights(natural), heights([*natural, *shut])),
        sampled=len(natural) + len(shut),
        planted_auc=_area(heights(list(branches)), heights([*constructed, *shut])),
        natural_auc=_area(heights(natural), heights(shut)),
    )


def _area(controllers: Sequence[float], closed: Sequence[float]) -> float | None:
    return area_under_roc(closed, controllers) if controllers and closed else None


def _ranks_in_census(
    names: Sequence[str], heights: Sequence[float], sample: Sequence[float]
) -> tuple[tuple[str, float], ...]:
    """Places among the sample, counted from 1; neurons at the same height share the middle of their places."""
    values = np.array(sample)
    return tuple(
        (name, float((values > height).sum() + ((values == height).sum() + 1) / 2))
        for name, height in zip(names, heights, strict=True)
    )
