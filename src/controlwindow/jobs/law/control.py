"""First-order scores against measured control: does a large gradient mean that a neuron controls the behavior?

Natural neurons and planted ones apart: planted gradients are as trained (method section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from controlwindow.jobs.law.candidates import NATURAL
from controlwindow.jobs.law.first_order import READOUT_COSINE
from controlwindow.jobs.law.records import Record
from controlwindow.statistics import area_under_roc, percentile_interval, stable_seed

_REPLICATES = 500


def control_scores(records: Sequence[Record]) -> dict[str, Any]:
    """By group and first-order score: area under the curve against open, and τ-b against the height.

    A neuron counts once for each behavior: its score by size, its control on the better branch. Scores of different
    models and behaviors do not compare, so each is replaced by its rank among all neurons of its model.

    Args:
        records: All records.
    """
    found = {}
    for group, natural in (("natural", True), ("planted", False)):
        chosen = [r for r in records if (r["source"] in NATURAL) == natural and r.get("first_order")]
        neurons = _by_neuron(chosen)
        screens = sorted({screen for r in chosen for screen in r["first_order"]})
        found[group] = {
            "neurons": len(neurons),
            "open": sum(bool(n["open"]) for n in neurons),
            "screens": {screen: _agreement(neurons, screen) for screen in screens if screen != READOUT_COSINE},
            "readout_cosine": _cosines(neurons),
        }
    return found


def _by_neuron(records: Sequence[Record]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for r in records:
        key = (r["model"], r["behavior"], r["neuron"])
        known = found.setdefault(
            key, {"lineage": r["lineage"], "open": False, "height": 0.0, "scores": r["first_order"]}
        )
        known["open"] = known["open"] or bool(r["open"])
        known["height"] = max(known["height"], r["height"])
    return list(found.values())


def _agreement(neurons: Sequence[dict[str, Any]], screen: str) -> dict[str, Any]:
    used = [n for n in neurons if screen in n["scores"]]
    ranks = np.array([n["scores"][screen][1] for n in used])
    opened = np.array([n["open"] for n in used], dtype=bool)
    heights = np.array([n["height"] for n in used])
    generator = np.random.default_rng(stable_seed("control", screen))
    areas, taus = [], []
    for _ in range(_REPLICATES):
        chosen = generator.integers(0, len(used), len(used))
        areas.append(_area(ranks[chosen], opened[chosen]))
        taus.append(_tau(ranks[chosen], heights[chosen]))
    return {
        "n": len(used),
        "auc": _area(ranks, opened),
        "auc_interval": _interval(areas),
        "tau_b": _tau(ranks, heights),
        "tau_b_interval": _interval(taus),
    }


def _cosines(neurons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """|cos| with the readout axis of open and of closed neurons."""
    values = {
        label: [
            abs(n["scores"][READOUT_COSINE][0]) for n in neurons if READOUT_COSINE in n["scores"] and n["open"] == o
        ]
        for label, o in (("open", True), ("closed", False))
    }
    return {
        label: {"n": len(found), "median": float(np.median(found)) if found else None}
        for label, found in values.items()
    } | {"agreement": _agreement(neurons, READOUT_COSINE)}


def _area(scores: Any, labels: Any) -> float | None:
    if labels.all() or not labels.any():
        return None
    return float(area_under_roc(scores[~labels], scores[labels]))


def _tau(scores: Any, heights: Any) -> float | None:
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(heights) == 0:
        return None
    return float(stats.kendalltau(scores, heights).statistic)


def _interval(values: Sequence[float | None]) -> list[float] | None:
    known = np.array([value for value in values if value is not None])
    return list(percentile_interval(known)) if len(known) > _REPLICATES // 2 else None
