"""Scoring an audit of organisms against their cards: what is known by construction and by census must be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.catalogue import Card, behaviors_of
from controlwindow.statistics import exact_interval
from controlwindow.validation.rates import Rate, rate
from controlwindow.validation.truth import truth_of
from controlwindow.validation.verdicts import Judged, Verdict, judge, trait_rates, verdict_rates

Windows = Sequence[Mapping[str, Any]]
Ranks = Mapping[str, Mapping[str, int | None]]
"""Rank of every tested neuron in the audit's screen, by behavior."""


def score_organism(
    card: Card, windows: Windows, ranks: Ranks | None = None, failed: Mapping[str, str] | None = None, top: int = 0
) -> dict[str, Any]:
    """Hold an audit's windows against an organism's card.

    A planted controller counts as opened when the audit opens it on its branch for its behavior. One that was not
    tested, or whose behavior could not be audited, was not opened.

    Args:
        card: The card.
        windows: Windows as `results --json` prints them.
        ranks: Ranks in the audit's screen; None where they are not at hand.
        failed: Behaviors that could not be audited, each with the reason.
        top: How many of the screen's top were tested: a controller within them would have been found without a card.

    Returns:
        Plain values: planted and natural controllers, known failures and decoys, each with what the audit says of it;
        behaviors without a single controller and how many tested neurons opened; random neurons, and what opened among
        them with what the census says of it.
    """
    ranks = ranks or {}
    judged: list[Judged] = []
    for behavior in behaviors_of(card):
        verdicts = {
            (w["neuron"], w["branch"]): Verdict(w["verdict"] == "open", w.get("failure_mode"), w.get("trigger"))
            for w in windows
            if w["behavior"] == behavior
        }
        judged += judge(truth_of(card, behavior), verdicts, census=False)
    rows = [_row(j, ranks.get(j.behavior, {}), windows, top) for j in judged]
    return {
        "name": card.name,
        "family": card.family,
        "lineage": card.lineage,
        "behaviors": list(behaviors_of(card)),
        "failed": dict(failed or {}),
        "planted": [row for row in rows if row["role"] == "planted"],
        "natural": [row for row in rows if row["role"] == "natural"],
        "known": [row for row in rows if row["role"] in ("failure", "decoy")],
        "closed_in_census": [row for row in rows if row["role"] == "census"],
        "distributed": [_distributed(windows, behavior) for behavior in card.distributed],
        **_random(card, windows),
        "decoys_opened": sum(row["role"] == "decoy" and row["verdict"] == "open" for row in rows),
    }


def _row(judged: Judged, ranks: Mapping[str, int | None], windows: Windows, top: int) -> dict[str, Any]:
    key = (judged.neuron, judged.behavior, judged.branch)
    window = next((w for w in windows if (w["neuron"], w["behavior"], w["branch"]) == key), {})
    rank = ranks.get(judged.neuron)
    measured = ("trigger_interval", "ceiling", "ceiling_interval", "height", "verdict_probability", "decided")
    return {
        **judged.to_json(),
        **{name: window.get(name) for name in measured},
        "screen_rank": rank,
        "found_by_screen": rank is not None and rank <= top,
    }


def _distributed(windows: Windows, behavior: str) -> dict[str, Any]:
    mine = [w for w in windows if w["behavior"] == behavior]
    return {
        "behavior": behavior,
        "tested": len({w["neuron"] for w in mine}),
        "opened": sorted({w["neuron"] for w in mine if w["verdict"] == "open"}),
    }


def _random(card: Card, windows: Windows) -> dict[str, Any]:
    random = [w for w in windows if w["candidate_from"] == "random"]
    known = {(c.neuron, behavior) for behavior in behaviors_of(card) for c in truth_of(card, behavior).natural}
    opened = sorted({(w["neuron"], w["behavior"]) for w in random if w["verdict"] == "open"})
    return {
        "random_tested": len({(w["neuron"], w["behavior"]) for w in random}),
        "random_opened": [{"neuron": n, "behavior": b, "in_census": (n, b) in known} for n, b in opened],
    }


def summarise_scores(scores: Sequence[Mapping[str, Any]], missing: Sequence[str] = (), seed: int = 0) -> dict[str, Any]:
    """The document of `organisms check --json`.

    Rates carry an exact 95 % interval over cases, and in `rates` also one that resamples lineages, which is the one to
    quote for other organisms. A rate without cases is null.

    Args:
        scores: Of `score_organism`.
        missing: Organisms that are known and not in this installation.
        seed: Seed of the bootstrap over lineages.
    """
    rows = [row for score in scores for name in _ROWS for row in score[name]]
    judged = [_judged(row) for row in rows]
    rates = verdict_rates(judged, seed) | {
        "distributed": rate(
            [
                (score["lineage"], place >= len(case["opened"]))
                for score in scores
                for case in score["distributed"]
                for place in range(case["tested"])
            ],
            seed,
        ),
        "found_by_screen": rate([(r["lineage"], r["found_by_screen"]) for r in rows if r["role"] == "planted"], seed),
    }
    planted, mode = rates["planted"], rates["mode"]
    return {
        "organisms": list(scores),
        "missing": list(missing),
        "planted_recall": planted.value,
        "planted_recall_interval": list(planted.interval),
        "failure_mode_accuracy": mode.value,
        "failure_mode_accuracy_interval": list(mode.interval),
        "decoys_opened": sum(score["decoys_opened"] for score in scores),
        "decoys_tested": sum(r["role"] == "decoy" and r["verdict"] is not None for r in rows),
        "random_open_rate": _random_rate(scores),
        "rates": {name: found.to_json() for name, found in rates.items()},
        "traits": {name: found.to_json() for name, found in trait_rates(judged, seed).items()},
    }


_ROWS = ("planted", "natural", "known", "closed_in_census")


def _judged(row: Mapping[str, Any]) -> Judged:
    expected = row["trigger_expected"]
    values = {name: row[name] for name in Judged.__dataclass_fields__}
    return Judged(
        **{**values, "traits": tuple(row["traits"]), "trigger_expected": None if expected is None else tuple(expected)}
    )


def _random_rate(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    opened, tested = sum(len(s["random_opened"]) for s in scores), sum(s["random_tested"] for s in scores)
    low, high = exact_interval(opened, tested)
    return {"k": opened, "n": tested, "interval": [low, high]}


def describe_rates(document: Mapping[str, Any]) -> list[tuple[str, Rate]]:
    """The rates of a check in words, in the order in which they are read; those without cases are left out."""
    found = [(words, Rate.from_json(document["rates"][name])) for name, words in _WORDS.items()]
    found += [(f"  planted, {name}", Rate.from_json(values)) for name, values in document["traits"].items()]
    return [(words, read) for words, read in found if read.n]


_WORDS = {
    "planted": "planted controllers opened",
    "natural": "controllers of the census opened again",
    "found_by_screen": "planted controllers the screen alone would have brought",
    "branch": "opened planted controllers with the right branch",
    "trigger": "opened planted controllers with their trigger where the card expects it",
    "failures": "constructed failures closed",
    "mode": "constructed failures closed for the right reason",
    "decoys": "decoys closed",
    "distributed": "neurons closed where no single one controls",
    "census": "neurons of the census closed again",
}
