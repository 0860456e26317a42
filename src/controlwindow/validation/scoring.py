"""Scoring an audit of organisms against their cards: what is known by construction must be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.organisms.catalogue import Card
from controlwindow.statistics import exact_interval


def score_organism(card: Card, windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Hold an audit's windows against an organism's card.

    A planted controller counts as found when the audit opens it on its trained branch for its behavior.

    Args:
        card: The card.
        windows: Windows as `results --json` prints them.

    Returns:
        Planted controllers with what was found of each, and the random neurons that opened, each marked with whether
        the census knows it.
    """
    by_key = {(w["neuron"], w["behavior"], w["branch"]): w for w in windows}
    planted = []
    for p in card.planted:
        found = by_key.get((p.neuron, p.behavior, p.branch))
        planted.append(
            {
                "neuron": p.neuron,
                "behavior": p.behavior,
                "branch": p.branch,
                "by": p.by,
                "verdict": None if found is None else found["verdict"],
                "trigger": None if found is None else found["trigger"],
                "ceiling": None if found is None else found["ceiling"],
            }
        )
    random = [w for w in windows if w["candidate_from"] == "random"]
    known = set()
    if card.census is not None:
        known = {(name, behavior) for behavior, rate in card.census["open"].items() for name in rate["neurons"]}
    opened = sorted({(w["neuron"], w["behavior"]) for w in random if w["verdict"] == "open"})
    return {
        "name": card.name,
        "planted": planted,
        "random_tested": len({(w["neuron"], w["behavior"]) for w in random}),
        "random_opened": [{"neuron": n, "behavior": b, "in_census": (n, b) in known} for n, b in opened],
        "decoys_opened": 0,
    }


def summarise_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The document of `organisms check --json`. No organism has decoys or planted failure modes yet: 0 and null."""
    planted = [p for score in scores for p in score["planted"]]
    found = sum(p["verdict"] == "open" for p in planted)
    return {
        "organisms": list(scores),
        "planted_recall": found / len(planted) if planted else None,
        "planted_recall_interval": list(exact_interval(found, len(planted))),
        "failure_mode_accuracy": None,
        "decoys_opened": sum(score["decoys_opened"] for score in scores),
    }
