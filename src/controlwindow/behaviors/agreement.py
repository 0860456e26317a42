"""How far an oracle or a judge agrees with people who labelled the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.statistics import REPLICATES, Interval, percentile_interval, wilson_interval


@dataclass(frozen=True)
class Agreement:
    """Counts of what was said against what people said; rates leave abstentions out.

    Attributes:
        both: Both say yes.
        judge_only: The judge alone says yes.
        people_only: People alone say yes.
        neither: Both say no.
        abstained_yes: The judge cannot tell, people say yes.
        abstained_no: The judge cannot tell, people say no.
        seed: Seed of the bootstrap.
    """

    both: int
    judge_only: int
    people_only: int
    neither: int
    abstained_yes: int = 0
    abstained_no: int = 0
    seed: int = 0

    @property
    def judged(self) -> int:
        """Answers on which the judge said something."""
        return self.both + self.judge_only + self.people_only + self.neither

    @property
    def abstained(self) -> int:
        """Answers on which it did not."""
        return self.abstained_yes + self.abstained_no

    @property
    def agreement(self) -> float | None:
        """Share of the judged answers on which both say the same."""
        return _share(self.both + self.neither, self.judged)

    @property
    def kappa(self) -> float | None:
        """Cohen's κ; None where either side says one thing only."""
        value = float(_kappa(np.array([[self.both, self.judge_only, self.people_only, self.neither]], dtype=float))[0])
        return None if np.isnan(value) else value

    @property
    def kappa_interval(self) -> Interval | None:
        """95 % interval of κ, from a bootstrap over the judged answers."""
        if self.kappa is None:
            return None
        counts = np.array([self.both, self.judge_only, self.people_only, self.neither])
        drawn = np.random.default_rng(self.seed).multinomial(self.judged, counts / self.judged, size=REPLICATES)
        values = _kappa(drawn.astype(float))
        return percentile_interval(values[~np.isnan(values)])

    @property
    def true_positive_rate(self) -> float | None:
        """Share of people's yes that the judge finds."""
        return _share(self.both, self.both + self.people_only)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of people's no that the judge calls yes."""
        return _share(self.judge_only, self.judge_only + self.neither)

    def to_json(self) -> dict[str, Any]:
        """As plain values, with 95 % intervals (Wilson; κ by bootstrap)."""
        interval = self.kappa_interval
        return {
            "n": self.judged + self.abstained,
            "abstained": self.abstained,
            "confusion": {
                "both": self.both,
                "judge_only": self.judge_only,
                "people_only": self.people_only,
                "neither": self.neither,
                "abstained_yes": self.abstained_yes,
                "abstained_no": self.abstained_no,
            },
            "agreement": self.agreement,
            "agreement_interval": list(wilson_interval(self.both + self.neither, self.judged)),
            "kappa": self.kappa,
            "kappa_interval": None if interval is None else list(interval),
            "true_positive_rate": self.true_positive_rate,
            "true_positive_interval": list(wilson_interval(self.both, self.both + self.people_only)),
            "false_positive_rate": self.false_positive_rate,
            "false_positive_interval": list(wilson_interval(self.judge_only, self.judge_only + self.neither)),
        }


def measure_agreement(said: Sequence[bool | None], labels: Sequence[bool], seed: int = 0) -> Agreement:
    """Count what a judge says against labels.

    Args:
        said: What it says of each answer; None where it cannot tell.
        labels: What people say.
        seed: Seed of the bootstrap.

    Example:
        >>> found = measure_agreement([True, True, False, None], [True, False, False, True])
        >>> found.agreement, found.true_positive_rate, found.false_positive_rate, found.abstained
        (0.6666666666666666, 1.0, 0.5, 1)
    """
    pairs = list(zip(said, labels, strict=True))
    return Agreement(
        both=pairs.count((True, True)),
        judge_only=pairs.count((True, False)),
        people_only=pairs.count((False, True)),
        neither=pairs.count((False, False)),
        abstained_yes=pairs.count((None, True)),
        abstained_no=pairs.count((None, False)),
        seed=seed,
    )


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _kappa(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """κ of rows (both, judge only, people only, neither), [n, 4] to [n]; nan where chance alone agrees always."""
    both, judge_only, people_only, neither = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        total = counts.sum(1)
        observed = (both + neither) / total
        yes = (both + judge_only) / total * (both + people_only) / total
        no = (people_only + neither) / total * (judge_only + neither) / total
        found: NDArray[np.float64] = (observed - yes - no) / (1 - yes - no)
    return found
