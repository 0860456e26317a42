"""First-order scores against measured control: does a large gradient mean that a neuron controls the behavior?

Natural neurons and planted ones apart: planted gradients are as trained (method section 5). Neurons that a screen or a
census put forward were chosen for what is asked here, so the random ones speak for a model's neurons, alone or together
with the chosen ones weighted by the inverse of their chance to be taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from controlwindow.jobs.law.candidates import NATURAL
from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.first_order import READOUT_COSINE
from controlwindow.jobs.law.inclusion import inclusion_weights
from controlwindow.jobs.law.records import Record
from controlwindow.statistics import percentile_interval, stable_seed

_REPLICATES = 500

HEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Bands of the window's height."""

Floats = NDArray[np.float64]
Unit = dict[str, Any]


def control_scores(records: Sequence[Record], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """By group and first-order score: area under the curve against open, and τ-b against the height.

    A neuron counts once for each behavior: its score by size, its control on the better branch. Scores of different
    models and behaviors do not compare, so each is replaced by its rank among all neurons of its model. Intervals
    resample lineages.

    Args:
        records: All records, every case once.
        models: What else is known of the models; `population` gives the weights.
    """
    natural = [r for r in records if r["source"] in NATURAL and r.get("first_order")]
    groups = {
        "random": [r for r in natural if r["source"] == "random"],
        "natural": natural,
        "planted": [r for r in records if r["source"] not in NATURAL and r.get("first_order")],
    }
    found = {name: _group(_by_neuron(chosen)) for name, chosen in groups.items()}
    weighted = inclusion_weights(_by_neuron(natural), models)
    if weighted is not None:
        found["natural, weighted"] = _group(weighted)
    return found


def _by_neuron(records: Sequence[Record]) -> list[Unit]:
    found: dict[tuple[str, str, str], Unit] = {}
    for r in records:
        known = found.setdefault(
            (r["model"], r["behavior"], column_of(r)),
            {
                **{key: r[key] for key in ("model", "behavior", "lineage", "source")},
                "open": False,
                "height": 0.0,
                "scores": r["first_order"],
                "weight": 1.0,
            },
        )
        known["open"] = known["open"] or bool(r["open"])
        known["height"] = max(known["height"], r["height"])
    return list(found.values())


def _group(neurons: Sequence[Unit]) -> dict[str, Any]:
    screens = sorted({screen for n in neurons for screen in n["scores"]} - {READOUT_COSINE})
    return {
        "neurons": len(neurons),
        "open": sum(n["open"] for n in neurons),
        "screens": {screen: _agreement(neurons, screen) for screen in screens},
        "readout_cosine": _cosines(neurons),
        "gradient_by_height": _by_height(neurons),
    }


def _agreement(neurons: Sequence[Unit], screen: str) -> dict[str, Any]:
    used = [n for n in neurons if screen in n["scores"]]
    ranks = np.array([n["scores"][screen][1] for n in used])
    opened = np.array([n["open"] for n in used], dtype=bool)
    heights = np.array([n["height"] for n in used])
    weights = np.array([n["weight"] for n in used])
    lineages = sorted({n["lineage"] for n in used})
    members = [np.flatnonzero([n["lineage"] == lineage for n in used]) for lineage in lineages]
    generator = np.random.default_rng(stable_seed("control", screen))
    areas, taus = [], []
    weighted = bool(len(weights)) and float(np.ptp(weights)) > 0
    for _ in range(_REPLICATES if len(lineages) > 1 else 0):
        chosen = np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))])
        areas.append(weighted_area(ranks[chosen], opened[chosen], weights[chosen]))
        if not weighted:
            taus.append(_tau(ranks[chosen], heights[chosen]))
    return {
        "n": len(used),
        "auc": weighted_area(ranks, opened, weights),
        "auc_interval": _interval(areas),
        # τ-b has no weighted form here.
        "tau_b": None if weighted else _tau(ranks, heights),
        "tau_b_interval": _interval(taus),
        "lineages": len(lineages),
    }


def weighted_area(scores: Floats, labels: NDArray[np.bool_], weights: Floats) -> float | None:
    """Area under the curve: the chance that a labelled neuron, drawn by weight, scores above another; ties are halves.

    Example:
        >>> weighted_area(np.array([1.0, 2.0, 3.0]), np.array([False, True, False]), np.array([3.0, 1.0, 1.0]))
        0.75
    """
    if labels.all() or not labels.any():
        return None
    order = np.argsort(scores[~labels], kind="stable")
    others, below = scores[~labels][order], np.concatenate([[0.0], np.cumsum(weights[~labels][order])])
    mine = scores[labels]
    wins = (below[np.searchsorted(others, mine, "left")] + below[np.searchsorted(others, mine, "right")]) / 2
    return float(wins @ weights[labels] / weights[labels].sum() / below[-1])


def _by_height(neurons: Sequence[Unit]) -> list[dict[str, Any]]:
    """Where the gradient ranks neurons whose windows reach so high: LAW speaks of strong controllers off the axis."""
    found = []
    for low, high in itertools.pairwise(HEIGHTS):
        inside = [n for n in neurons if low <= n["height"] < high or (high == HEIGHTS[-1] and n["height"] == high)]
        ranks = [n["scores"]["gradient"][1] for n in inside if "gradient" in n["scores"]]
        cosines = [abs(n["scores"][READOUT_COSINE][0]) for n in inside if READOUT_COSINE in n["scores"]]
        found.append(
            {
                "height": [low, high],
                "n": len(ranks),
                "median_rank": float(np.median(ranks)) if ranks else None,
                "in_top_tenth": float(np.mean([rank >= 0.9 for rank in ranks])) if ranks else None,
                "in_lower_half": float(np.mean([rank < 0.5 for rank in ranks])) if ranks else None,
                "median_readout_cosine": float(np.median(cosines)) if cosines else None,
            }
        )
    return found


def _cosines(neurons: Sequence[Unit]) -> dict[str, Any]:
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


def _tau(scores: Floats, heights: Floats) -> float | None:
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(heights) == 0:
        return None
    return float(stats.kendalltau(scores, heights).statistic)


def _interval(values: Sequence[float | None]) -> list[float] | None:
    known = np.array([value for value in values if value is not None])
    return list(percentile_interval(known)) if len(known) > _REPLICATES // 2 else None
