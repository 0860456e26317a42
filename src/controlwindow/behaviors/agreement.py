"""How far an oracle or a judge agrees with people who labelled the same answers, and rates corrected for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class CorrectedRate(NamedTuple):
    """How often people would have said yes, by what an oracle says.

    Attributes:
        k: Answers of which it says yes.
        n: Answers of which it says yes or no.
        value: The corrected share; None where the oracle tells people's yes from their no no better than chance.
        interval: Its 95 % interval, over answers and labels; None where labels are too few to say that it does.
    """

    k: int
    n: int
    value: float | None
    interval: Interval | None


#: Largest share of bootstrap replicates in which an oracle may be no better than chance.
_USELESS = 0.05


def corrected_rate(k: int, n: int, agreement: Agreement, seed: int = 0) -> CorrectedRate:
    """A share of answers corrected for the errors of the oracle that gave it (Rogan and Gladen 1978).

    With q the share that the oracle says yes of, (q − FPR) / (TPR − FPR), kept within 0 and 1; the interval bootstraps
    the answers and the labelled answers. It holds where the oracle errs on these answers as it does on those labelled.

    Args:
        k: Answers of which it says yes.
        n: Answers of which it says yes or no.
        agreement: What it says of labelled answers.
        seed: Seed of the bootstrap.

    Example:
        >>> round(corrected_rate(50, 100, Agreement(both=90, judge_only=20, people_only=10, neither=80)).value, 3)
        0.429
    """
    found, wrong = agreement.true_positive_rate, agreement.false_positive_rate
    if not n or found is None or wrong is None or found <= wrong:
        return CorrectedRate(k, n, None, None)
    value = min(max((k / n - wrong) / (found - wrong), 0.0), 1.0)
    rng = np.random.default_rng(seed)
    counts = np.array([agreement.both, agreement.judge_only, agreement.people_only, agreement.neither], dtype=float)
    both, judge_only, people_only, neither = rng.multinomial(agreement.judged, counts / counts.sum(), REPLICATES).T
    shares = rng.binomial(n, k / n, REPLICATES) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = both / (both + people_only), judge_only / (judge_only + neither)
        useful = rates[0] > rates[1]
        values = np.clip((shares - rates[1]) / (rates[0] - rates[1]), 0.0, 1.0)
    certain = float(np.mean(~useful)) <= _USELESS
    return CorrectedRate(k, n, value, percentile_interval(values[useful]) if certain else None)


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
