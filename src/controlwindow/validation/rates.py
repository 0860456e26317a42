"""Rates over known cases: each with an exact interval, and one over lineages, which are what a claim generalises to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from controlwindow.statistics import REPLICATES, Interval, bootstrap_indices, exact_interval, percentile_interval

Case = TypeVar("Case")


@dataclass(frozen=True)
class Rate:
    """k of n cases.

    Attributes:
        k: Cases that count.
        n: Cases.
        over_lineages: 95 % bootstrap interval that resamples lineages whole; None below two lineages, of which none can
            be resampled.
    """

    k: int
    n: int
    over_lineages: Interval | None = None

    @property
    def value(self) -> float | None:
        """The share; None without cases."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> Interval:
        """Exact 95 % interval (Clopper–Pearson), which takes cases as independent."""
        return exact_interval(self.k, self.n)

    def __str__(self) -> str:
        """As tables show it.

        Example:
            >>> str(Rate(19, 20)), str(Rate(0, 0))
            ('19 of 20 = 95 % [75, 100]', 'none')
        """
        if not self.n:
            return "none"
        low, high = self.interval
        return f"{self.k} of {self.n} = {self.k / self.n:.0%} [{100 * low:.0f}, {100 * high:.0f}]".replace("%", " %")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "k": self.k,
            "n": self.n,
            "value": self.value,
            "interval": list(self.interval),
            "interval_over_lineages": None if self.over_lineages is None else list(self.over_lineages),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rate:
        """Read `to_json`."""
        spread = values["interval_over_lineages"]
        return cls(values["k"], values["n"], None if spread is None else Interval(*spread))


def rate(outcomes: Sequence[tuple[str, bool]], seed: int = 0) -> Rate:
    """The rate of cases given as (lineage, whether it counts)."""
    by_lineage: dict[str, list[bool]] = {}
    for lineage, counts in outcomes:
        by_lineage.setdefault(lineage, []).append(bool(counts))
    hits = sum(map(sum, by_lineage.values()))
    spread = over_lineages(by_lineage, lambda drawn: float(np.mean(drawn)), seed)
    return Rate(hits, len(outcomes), spread)


def over_lineages(
    by_lineage: Mapping[str, Sequence[Case]], statistic: Callable[[Sequence[Case]], float], seed: int = 0
) -> Interval | None:
    """95 % percentile interval of a statistic of all cases, by a bootstrap that draws whole lineages.

    Args:
        by_lineage: Cases of every lineage.
        statistic: Of the cases of the drawn lineages, in one list.
        seed: Seed of the draws.

    Returns:
        The interval; None below two lineages.
    """
    groups = [list(cases) for cases in by_lineage.values() if cases]
    if len(groups) < 2:
        return None
    draws = bootstrap_indices(len(groups), REPLICATES, seed)
    # Few lineages give few different draws, in whatever order they come.
    known: dict[tuple[int, ...], float] = {}
    values = []
    for draw in np.sort(draws, axis=1):
        key = tuple(int(i) for i in draw)
        if key not in known:
            known[key] = statistic([case for i in key for case in groups[i]])
        values.append(known[key])
    return percentile_interval(np.array(values))
