"""How answers were judged: the coherence detector, judges, how oracles agree with people, rates corrected for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from controlwindow.behaviors.agreement import Agreement, corrected_rate
from controlwindow.report.marks import Count, Part, Share, ShareInterval
from controlwindow.statistics import wilson_interval


class CoherenceControl(Part):
    """One labelled set of control texts; `label` is the class it should get."""

    control: str
    label: str
    n: Count
    share_collapsed: Share


class Coherence(Part):
    """The coherence detector: thresholds, the scale of excess NLL (nats per token), and how it did on controls."""

    thresholds: dict[str, float | None]
    scale: float | None = None
    auc: Annotated[dict[str, Share | None], Field(default={})]
    agreement: Share | None = None
    agreement_interval: ShareInterval | None = None
    controls: tuple[CoherenceControl, ...] = ()


class JudgeUse(Part):
    """A judge that is a model: what it decides, which one it is, the rubric's hash, and how often it replied how."""

    oracle: str
    judge: str
    rubric: str
    replies: Annotated[dict[str, Count], Field(default={})]

    @property
    def undecided(self) -> int:
        """Replies that decided nothing."""
        return sum(count for reply, count in self.replies.items() if reply not in ("yes", "no"))


class OracleFigures(Part):
    """How an oracle agrees with people's labels; 95 % intervals."""

    oracle: str
    type: str
    labels: str
    n: Count
    abstained: Count
    agreement: Share | None
    agreement_interval: ShareInterval
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    true_positive_rate: Share | None
    true_positive_interval: ShareInterval
    false_positive_rate: Share | None
    false_positive_interval: ShareInterval


class CorrectedShare(Part):
    """The share of answers that an oracle says yes of, as it says and as people would have said."""

    oracle: str
    outcome: str
    horizon: str
    k: Count
    n: Count
    raw: Share
    raw_interval: ShareInterval
    value: Share | None
    interval: ShareInterval | None


def judge_uses(record: Mapping[str, Any], replies: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """The judges of a behavior's record, with how they replied."""
    return [
        {
            "oracle": name,
            "judge": _judge(identity.get("judge", identity)),
            "rubric": str(identity.get("rubric", ""))[:16],
            "replies": dict(replies.get(name, {})),
        }
        for name, identity in record.get("judges", {}).items()
    ]


def _judge(identity: Any) -> str:
    if isinstance(identity, Mapping) and "served" in identity:
        return f"{identity['served']}, served"
    return f"weights {str(identity)[:16]}" if isinstance(identity, str) else "of another package"


def oracle_figures(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the oracles of a behavior's record agree with people."""
    found = []
    for name, measured in record.get("agreement", {}).items():
        values = Agreement(**measured["confusion"], seed=measured["seed"]).to_json()
        del values["confusion"]
        found.append({"oracle": name, "type": measured["type"], "labels": measured["labels"]["file"], **values})
    return found


def corrected_shares(
    record: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]], n: int
) -> list[dict[str, Any]]:
    """Outcome shares corrected for the errors of the oracles that decided them, where labels say how they err.

    Args:
        record: The behavior's record.
        shares: By horizon and outcome, of n answers.
        n: The answers; those that collapsed or were left undecided are in none of what is corrected.
    """
    found = []
    for name, measured in record.get("agreement", {}).items():
        decides = measured["decides"]
        if decides is None:
            continue
        agreement = Agreement(**measured["confusion"], seed=measured["seed"])
        for horizon, by_outcome in shares.items():
            counts = {outcome: round(by_outcome.get(outcome, 0.0) * n) for outcome in decides["of"]}
            yes, total = counts[decides["yes"]], sum(counts.values())
            if not total:
                continue
            corrected = corrected_rate(yes, total, agreement, measured["seed"])
            found.append(
                {
                    "oracle": name,
                    "outcome": decides["yes"],
                    "horizon": horizon,
                    "k": yes,
                    "n": total,
                    "raw": yes / total,
                    "raw_interval": list(wilson_interval(yes, total)),
                    "value": corrected.value,
                    "interval": None if corrected.interval is None else list(corrected.interval),
                }
            )
    return found
