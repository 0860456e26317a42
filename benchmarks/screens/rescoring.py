"""The comparison scored anew from its own results: ranks as they were measured, rates as they are counted now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.screens.summary import Expense, Standing, aims
from controlwindow.catalogue import load_card
from controlwindow.statistics import Interval
from controlwindow.validation.methods import DEPTHS, MethodScore
from controlwindow.validation.rankings import RankedController, RankingScore
from controlwindow.validation.rates import Rate
from controlwindow.validation.truth import truth_of

NATURAL = "natural recall at {} in the census"


@dataclass(frozen=True)
class StoredScore(MethodScore):
    """A score of stored results, which hold the ranks of known neurons, and of natural ones the rates alone.

    Attributes:
        natural: Natural recall by depth, as it was stored.
    """

    natural: Mapping[int, Rate] = field(default_factory=dict)

    def natural_recall(self, depth: int) -> Rate:
        """As it was stored: natural controllers have no copies."""
        return self.natural.get(depth, Rate(0, 0))


def rescored(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[Standing]]:
    """The document with every rate of known neurons counted again, and the standings that its tables are made of."""
    standings = [_standing(values, document["seed"]) for values in document["screens"]]
    screens = []
    for values, standing in zip(document["screens"], standings, strict=True):
        score = standing.score
        if score is None:
            screens.append(dict(values))
            continue
        again = score.to_json()
        rankings = [
            {**old, "known": new["known"]}
            for old, new in zip(values["score"]["rankings"], again["rankings"], strict=True)
        ]
        kept = {"auc": values["score"]["auc"], "rankings": rankings}
        screens.append({**values, "score": {**values["score"], **again, **kept}})
    return {**document, "aims": [vars(aim) for aim in aims(standings)], "screens": screens}, standings


def _standing(values: Mapping[str, Any], seed: int) -> Standing:
    expense = values["expense"]
    if expense is not None:
        ranges = ("plain_range", "rollouts_range")
        spans = {key: None if expense[key] is None else Interval(*expense[key]) for key in ranges}
        expense = Expense(**{**expense, **spans})
    unavailable = tuple((entry["on"], entry["reason"]) for entry in values["unavailable"])
    leads = tuple((lead["organism"], lead["behavior"], lead["distributed"], lead["lead"]) for lead in values["leads"])
    return Standing(values["screen"], _score(values["score"], seed), expense, unavailable, leads)


def _score(values: Mapping[str, Any] | None, seed: int) -> StoredScore | None:
    if values is None:
        return None
    names = {depth: NATURAL.format(depth) for depth in DEPTHS}
    natural = {d: Rate.from_json(values["rates"][name]) for d, name in names.items() if name in values["rates"]}
    rankings = tuple(_ranking(ranking) for ranking in values["rankings"])
    return StoredScore(values["method"], rankings, (), tuple(values["left_out"]), seed, natural)


def _ranking(values: Mapping[str, Any]) -> RankingScore:
    truth = truth_of(load_card(values["organism"]), values["behavior"])
    cases = {c.neuron: c.case or c.neuron for c in (*truth.constructed, *truth.planted)}
    known = tuple(
        RankedController(**{**k, "traits": tuple(k["traits"]), "case": cases[k["neuron"]]}) for k in values["known"]
    )
    kept = {key: value for key, value in values.items() if key not in ("known", "natural")}
    return RankingScore(**kept, known=known, natural_ranks=())
