"""What every screen found, scored as any other method is, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.screens.measuring import REFERENCE, plain_seconds
from controlwindow.statistics import Interval
from controlwindow.validation.methods import DEPTHS, MethodScore, score_method
from controlwindow.validation.rates import Rate, over_lineages

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Expense:
    """What a screen costs, over behaviors of organisms.

    Attributes:
        forward: Median sequences forward.
        backward: Median sequences backward.
        tokens: Median token positions forward.
        seconds: Median processor seconds.
        plain: Median ratio of them to the plain passes that the screen needs; None where it needs none.
        plain_range: Least and largest of these ratios.
        rollouts: Median share of what rolling every neuron out at one dose on both branches would take.
        rollouts_range: Least and largest share.
    """

    forward: float
    backward: float
    tokens: float
    seconds: float
    plain: float | None
    plain_range: Interval | None
    rollouts: float
    rollouts_range: Interval


@dataclass(frozen=True)
class Standing:
    """One screen.

    Attributes:
        name: Its name.
        score: Against cards and census.
        expense: What it costs; None where it ran nowhere.
        unavailable: Where it could not run, with the reason.
        leads: Score of the first place over that of the 16th, by (organism, behavior, whether it is distributed).
    """

    name: str
    score: MethodScore | None
    expense: Expense | None
    unavailable: tuple[tuple[str, str], ...]
    leads: tuple[tuple[str, str, bool, float], ...]

    def lead(self, distributed: bool) -> float | None:
        """Median lead where no single neuron controls, or elsewhere."""
        found = [lead for _, _, is_distributed, lead in self.leads if is_distributed == distributed]
        return float(np.median(found)) if found else None

    def auc_words(self, origin: str) -> str:
        """Mean area under the curve with its interval over lineages."""
        if self.score is None:
            return "–"
        mean, n, spread = self.score.auc(origin)
        if mean is None:
            return "–"
        return f"{mean:.3f}" + (f" [{spread.low:.2f}, {spread.high:.2f}]" if spread else "") + f", n {n}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        score = None if self.score is None else self.score.to_json()
        for ranking in [] if score is None else score["rankings"]:
            # Places of hundreds of natural controllers are not read by anyone; their recall and area are above.
            ranking["natural"] = len(ranking["natural"])
        return {
            "screen": self.name,
            "score": score,
            "expense": None if self.expense is None else vars(self.expense),
            "unavailable": [{"on": on, "reason": reason} for on, reason in self.unavailable],
            "leads": [
                {"organism": organism, "behavior": behavior, "distributed": distributed, "lead": lead}
                for organism, behavior, distributed, lead in self.leads
            ],
        }


def summarise(records: Iterable[Record], screens: Sequence[str], seed: int = 0) -> list[Standing]:
    """Score and count what was stored.

    Args:
        records: What `measuring` stored.
        screens: The screens, in the order of the table.
        seed: Seed of the bootstrap over lineages.
    """
    listed = list(records)
    references = {(r["organism"], r["on"]): r for r in listed if r["screen"] == REFERENCE}
    return [_standing(name, [r for r in listed if r["screen"] == name], references, seed) for name in screens]


def _standing(name: str, records: Sequence[Record], references: Mapping[Any, Record], seed: int) -> Standing:
    ran = [r for r in records if "ranking" in r]
    unavailable = tuple((f"{r['organism']} {r['on']}", r["unavailable"]) for r in records if "unavailable" in r)
    if not ran:
        return Standing(name, None, None, unavailable, ())
    score = score_method(
        {
            "method": name,
            "cases": [
                {
                    "organism": r["organism"],
                    "behavior": r["on"],
                    "ranking": [
                        {"neuron": neuron, "sign": sign or None}
                        for neuron, sign in zip(r["ranking"], r["signs"], strict=True)
                    ],
                }
                for r in ran
            ],
        },
        seed=seed,
    )
    distributed = {(r.organism, r.behavior): r.distributed for r in score.rankings}
    leads = tuple(
        (r["organism"], r["on"], distributed[r["organism"], r["on"]], abs(r["scores"][0]) / abs(r["scores"][-1]))
        for r in ran
        if len(r["scores"]) >= DEPTHS[-1] and r["scores"][-1]
    )
    return Standing(name, score, _expense(ran, references), unavailable, leads)


def _expense(ran: Sequence[Record], references: Mapping[Any, Record]) -> Expense | None:
    counted = [(r, references[r["organism"], r["on"]]) for r in ran if (r["organism"], r["on"]) in references]
    if not counted:
        return None
    plain = [r["seconds"] / plain_seconds(r["cost"], reference) for r, reference in counted if r["cost"]["tokens"]]
    shares = [r["seconds"] / reference["rollouts"] for r, reference in counted]

    def median(key: str) -> float:
        return float(np.median([r["cost"][key] for r, _ in counted]))

    return Expense(
        forward=median("forward"),
        backward=median("backward"),
        tokens=median("tokens"),
        seconds=float(np.median([r["seconds"] for r, _ in counted])),
        plain=float(np.median(plain)) if plain else None,
        plain_range=Interval(min(plain), max(plain)) if plain else None,
        rollouts=float(np.median(shares)),
        rollouts_range=Interval(min(shares), max(shares)),
    )


@dataclass(frozen=True)
class Aim:
    """Something that was asked for.

    Attributes:
        what: In words.
        found: What was found, in words.
        met: Whether it is met; None where nothing was measured.
    """

    what: str
    found: str
    met: bool | None


def known_places(standings: Sequence[Standing]) -> dict[str, list[int | None]]:
    """By screen the place of every planted controller, each write column once; what ships as `screens/known.json`."""
    return {
        s.name: sorted(
            (k.rank for r in s.score.rankings for k in r.cases("planted")), key=lambda rank: (rank is None, rank or 0)
        )
        for s in standings
        if s.score is not None
    }


def aims(standings: Sequence[Standing]) -> list[Aim]:
    """The aims of the comparison, each held against what was found."""
    found: list[Aim] = []
    causal = next((s for s in standings if s.name == "causal"), None)
    if causal is not None and causal.score is not None:
        recall, decoys = causal.score.recall(16), causal.score.false_alarms(16, "decoy")
        found.append(Aim("causal recalls at least 95 % of planted controllers at 16", str(recall), _at_least(recall)))
        found.append(Aim("no decoy among causal's 16", str(decoys), None if not decoys.n else decoys.k == 0))
        if causal.expense is not None:
            share = causal.expense.rollouts
            words = f"1/{1 / share:.0f} (1/{1 / causal.expense.rollouts_range.high:.0f} at the most)"
            found.append(Aim("causal at most 1/20 of rolling every neuron out", words, share <= 1 / 20))
    for standing in standings:
        expense = standing.expense
        if expense is not None and expense.plain is not None and expense.plain_range is not None:
            low, high = expense.plain_range
            words = f"{expense.plain:.2f} [{low:.2f}, {high:.2f}]"
            found.append(Aim(f"{standing.name} at most 1.1 times its plain passes", words, expense.plain <= 1.1))
    return found


def _at_least(found: Rate, share: float = 0.95) -> bool | None:
    return None if found.value is None else found.value >= share


def paired_recall(standings: Sequence[Standing], first: str, second: str, depth: int = 16, seed: int = 0) -> Any:
    """Difference of two screens' recall of planted controllers, on the same ones, with an interval over lineages.

    Returns:
        Difference, interval (None below two lineages) and the controllers that both ranked; None without any.
    """
    hits: dict[str, dict[tuple[str, str, str], tuple[str, bool]]] = {}
    for standing in standings:
        if standing.name in (first, second) and standing.score is not None:
            hits[standing.name] = {
                (r.organism, r.behavior, k.case): (r.lineage, k.rank is not None and k.rank <= depth)
                for r in standing.score.rankings
                for k in r.cases("planted")
            }
    if len(hits) < 2:
        return None
    shared = sorted(set(hits[first]) & set(hits[second]))
    by_lineage: dict[str, list[float]] = {}
    for key in shared:
        by_lineage.setdefault(hits[first][key][0], []).append(float(hits[first][key][1]) - float(hits[second][key][1]))
    if not shared:
        return None
    every = [value for values in by_lineage.values() for value in values]
    spread = over_lineages(by_lineage, lambda drawn: float(np.mean(drawn)), seed)
    return float(np.mean(every)), spread, len(every)
