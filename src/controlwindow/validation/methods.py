"""Scoring any method on the organisms: does it rank known controllers first, and are its verdicts right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from controlwindow.catalogue import Card, behaviors_of, load_card
from controlwindow.errors import UsageError
from controlwindow.models.neuron import Neuron
from controlwindow.statistics import Interval
from controlwindow.validation.entries import MethodCase, MethodEntry, read_entry
from controlwindow.validation.rankings import RankingScore, score_ranking
from controlwindow.validation.rates import Rate, over_lineages, rate
from controlwindow.validation.truth import Truth, choose_organisms, truth_of
from controlwindow.validation.verdicts import Judged, Verdict, judge, verdict_rates

DEPTHS = (1, 4, 16)
"""k of recall and precision at k."""

EntryLike = MethodEntry | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class MethodScore:
    """What a method is worth on the organisms.

    Attributes:
        method: Its name.
        rankings: Scored rankings.
        verdicts: Verdicts beside what is known.
        left_out: Behaviors of organisms at hand, as "organism behavior", on which the entry says nothing.
        seed: Seed of the bootstrap over lineages.
    """

    method: str
    rankings: tuple[RankingScore, ...]
    verdicts: tuple[Judged, ...]
    left_out: tuple[str, ...]
    seed: int = 0

    def recall(self, depth: int, trait: str | None = None) -> Rate:
        """Planted controllers among the first `depth` places."""
        return self._rate(
            (r, k.rank is not None and k.rank <= depth)
            for r in self.rankings
            for k in r.planted
            if trait is None or trait in k.traits
        )

    def natural_recall(self, depth: int) -> Rate:
        """Natural controllers among the first `depth` of the census' neurons, in the order of the ranking."""
        return self._rate((r, place <= depth) for r in self.rankings for _, place in r.natural_ranks)

    def precision(self, depth: int) -> Rate:
        """Planted controllers among the known neurons (also decoys and failures) in the first `depth` places."""
        return self._rate(
            (r, k.role == "planted")
            for r in self.rankings
            for k in r.known
            if k.rank is not None and k.rank <= depth and any(other.role != "planted" for other in r.known)
        )

    def false_alarms(self, depth: int, role: str) -> Rate:
        """Decoys, or constructed failures, among the first `depth` places."""
        return self._rate(
            (r, k.rank is not None and k.rank <= depth) for r in self.rankings for k in r.known if k.role == role
        )

    def signs(self) -> Rate:
        """Planted controllers whose sign is right, among those with a sign."""
        return self._rate((r, k.sign_right) for r in self.rankings for k in r.planted if k.sign_right is not None)

    def auc(self, origin: str) -> tuple[float | None, int, Interval | None]:
        """Mean area under the curve over behaviors, their number, and its interval over lineages.

        Args:
            origin: planted or natural.
        """
        by_lineage: dict[str, list[float]] = {}
        for r in self.rankings:
            value = r.planted_auc if origin == "planted" else r.natural_auc
            if value is not None:
                by_lineage.setdefault(r.lineage, []).append(value)
        values = [value for found in by_lineage.values() for value in found]
        if not values:
            return None, 0, None
        spread = over_lineages(by_lineage, lambda drawn: float(np.mean(drawn)), self.seed)
        return float(np.mean(values)), len(values), spread

    def chance(self, depth: int) -> float | None:
        """Recall of planted controllers that a random order would have."""
        shares = [min(depth / r.neurons, 1.0) for r in self.rankings for _ in r.planted if r.neurons]
        return float(np.mean(shares)) if shares else None

    def traits(self) -> tuple[str, ...]:
        """Traits of the planted controllers in the scored rankings."""
        return tuple(sorted({trait for r in self.rankings for k in r.planted for trait in k.traits}))

    def table(self) -> pl.DataFrame:
        """One row per rate: what, k, n, value, low, high (exact), low_lineages, high_lineages."""
        rows = []
        for what, found in self._rates():
            low, high = found.interval
            spread = found.over_lineages or (None, None)
            rows.append((what, found.k, found.n, found.value, low, high, *spread))
        names = ("what", "k", "n", "value", "low", "high", "low_lineages", "high_lineages")
        types = (pl.String, pl.Int64, pl.Int64, *(pl.Float64,) * 5)
        return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")

    def to_json(self) -> dict[str, Any]:
        """Plain values: summary first, then case by case."""
        areas = {origin: self.auc(origin) for origin in ("planted", "natural")}
        return {
            "method": self.method,
            "rates": {what: found.to_json() for what, found in self._rates()},
            "auc": {
                origin: {"mean": mean, "n": n, "interval_over_lineages": None if spread is None else list(spread)}
                for origin, (mean, n, spread) in areas.items()
            },
            "chance_recall": {str(depth): self.chance(depth) for depth in DEPTHS},
            "left_out": list(self.left_out),
            "rankings": [r.to_json() for r in self.rankings],
            "verdicts": [v.to_json() for v in self.verdicts if v.verdict is not None],
        }

    def _rates(self) -> list[tuple[str, Rate]]:
        found = []
        if self.rankings:
            found += [(f"planted recall at {depth}", self.recall(depth)) for depth in DEPTHS]
            found += [
                (f"planted recall at {DEPTHS[-1]}, {trait}", self.recall(DEPTHS[-1], trait)) for trait in self.traits()
            ]
            found += [("planted sign right", self.signs())]
            found += [(f"natural recall at {depth} in the census", self.natural_recall(depth)) for depth in DEPTHS]
            found += [(f"precision at {depth} against decoys and failures", self.precision(depth)) for depth in DEPTHS]
            found += [(f"decoys in the top {depth}", self.false_alarms(depth, "decoy")) for depth in DEPTHS]
            found += [(f"failures in the top {depth}", self.false_alarms(depth, "failure")) for depth in DEPTHS]
        if self.verdicts:
            found += [(f"verdicts: {name}", value) for name, value in verdict_rates(self.verdicts, self.seed).items()]
        return [(what, value) for what, value in found if value.n]

    def _rate(self, cases: Any) -> Rate:
        return rate([(r.lineage, counts) for r, counts in cases], self.seed)


def score_method(entry: EntryLike, organisms: Sequence[str] = (), *, seed: int = 0) -> MethodScore:
    """Score another method on the organisms.

    Recall is over planted controllers; natural ones are scored apart, among the census' neurons alone, since elsewhere
    nobody knows which neurons open. Neurons that a ranking leaves out share its last place. A verdict that is not
    given counts as missed for planted controllers, failures and decoys; neurons of the census count where they are
    judged.

    Args:
        entry: A `MethodEntry`, plain values, or a JSON or CSV file; docs/organisms.md describes them.
        organisms: Score on these alone; none for all that the entry names.
        seed: Seed of the bootstrap over lineages.

    Returns:
        Scores by case and in all.

    Raises:
        UsageError: The entry is invalid, or names a behavior that an organism does not have, or a neuron outside it.
        OrganismError: An organism is unknown, or not in this installation.

    Example:
        >>> import controlwindow as cw
        >>> case = {"organism": "switch", "behavior": "refusal", "ranking": ["L3.N80", "L0.N1"]}
        >>> score = cw.score_method({"method": "a guess", "cases": [case]}, ["switch"])
        >>> score.recall(1).value, score.left_out
        (1.0, ('organism:switch language',))
    """
    read = read_entry(entry)
    chosen = choose_organisms(organisms)
    wanted = {card.name for card in chosen.cards}
    cases = [case for case in read.cases if not organisms or case.organism in wanted]
    if not cases:
        raise UsageError(f"{read.method} has no case of {', '.join(sorted(wanted))}", "name an organism it speaks of")
    rankings: list[RankingScore] = []
    judged: list[Judged] = []
    for name, mine in groupby(sorted(cases, key=lambda case: case.organism), key=lambda case: case.organism):
        card = load_card(name)
        for case in mine:
            truth = _truth_for(card, case)
            if case.ranking:
                rankings.append(score_ranking(truth, case.ranking))
            if case.verdicts:
                verdicts: dict[tuple[str, int], Verdict] = {
                    (v.neuron, v.branch): Verdict(v.verdict == "open", v.failure_mode, v.trigger) for v in case.verdicts
                }
                judged += judge(truth, verdicts, census=False)
    said = {(case.organism, case.behavior) for case in cases}
    left_out = [f"{c.name} {b}" for c in chosen.cards for b in behaviors_of(c) if (c.name, b) not in said]
    return MethodScore(read.method, tuple(rankings), tuple(judged), tuple(left_out), seed)


def _truth_for(card: Card, case: MethodCase) -> Truth:
    known = behaviors_of(card)
    if case.behavior not in known:
        raise UsageError(f"{card.name} has no behavior {case.behavior!r}", f"it has {', '.join(known)}")
    layers = card.architecture.get("layers")
    for name in (*(r.neuron for r in case.ranking), *(v.neuron for v in case.verdicts)):
        if layers is not None and Neuron.parse(name).layer >= layers:
            raise UsageError(f"{name} lies outside {card.name}, which has {layers} layers", "layers count from 0")
    return truth_of(card, case.behavior)
