"""How exact measured thresholds are: what was measured twice, and the intervals that the records carry."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from controlwindow import geometry
from controlwindow.curves import curve_from_json
from controlwindow.jobs.law.cases import column_of, copies
from controlwindow.jobs.law.records import Record
from controlwindow.jobs.law.resampling import mean_estimate
from controlwindow.windows.search import COARSE_COORDINATES

THRESHOLDS = ("ceiling", "trigger", "target_trigger")

_LEAST = 5
"""Fewest neurons whose resampling says anything."""

_ROUNDED = 2e-5
"""Records are rounded, so that an end at c0 is c0 to so much."""


def noise_scores(records: Sequence[Record], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Test–retest, and the intervals of the measured thresholds.

    A pair is measured twice where a copy of its neuron (the same write column) had the other role, and where details
    were measured on the other role's prompts: the two roles share no prompt, so that all that lies between the two
    measurements is noise.

    Args:
        records: All records, copies among them.
        models: What else was measured; `details` may hold thresholds on other prompts.
    """
    families = {name: model["family"] for name, model in models.items()}
    again = [
        ({"model": name, **d, **d["as_planned"]}, {**d, **d["other_prompts"]})
        for name, model in models.items()
        for d in model["details"]
        if "other_prompts" in d
    ]
    pairs = [*copies(records), *again]
    groups = {
        "all": pairs,
        "dense": [p for p in pairs if not _routes(families, p[0])],
        "mixtures of experts": [p for p in pairs if _routes(families, p[0])],
    }
    return {
        "retest": {name: {t: _retest(found, t) for t in THRESHOLDS} for name, found in groups.items()},
        "intervals": {t: _intervals(records, t) for t in ("ceiling", "trigger")},
    }


def _routes(families: Mapping[str, str], record: Record) -> bool:
    return "moe" in str(families.get(record["model"], record.get("family")))


def _retest(pairs: Sequence[tuple[Record, Record]], threshold: str) -> dict[str, Any]:
    """Mean difference of two measurements; a single one errs by a √2-th of it, which is the floor of any predictor."""
    known = [(a, b) for a, b in pairs if threshold in a]
    both = [(a, b) for a, b in known if a[threshold] is not None and b[threshold] is not None]
    differences = [abs(a[threshold] - b[threshold]) for a, b in both]
    clusters, strata = [(a["model"], column_of(a)) for a, _ in both], [""] * len(both)
    return {
        "difference": _mean(differences, clusters, strata),
        "error": _mean([d / math.sqrt(2) for d in differences], clusters, strata),
        "reached_once": sum((a[threshold] is None) != (b[threshold] is None) for a, b in known),
    }


def _mean(values: Sequence[float], clusters: Sequence[Hashable], strata: Sequence[Hashable]) -> dict[str, Any]:
    """A mean with its interval; without one where a handful of neurons cannot bound anything."""
    found = mean_estimate(values, clusters, strata)
    return (found if found.clusters >= _LEAST else found._replace(interval=None)).to_json()


def _intervals(records: Sequence[Record], threshold: str) -> dict[str, Any]:
    """Held-out pairs that reach the threshold; how many intervals fell back to c0, and what the others stand for."""
    reached = [r for r in records if r["role"] == "held_out" and r[threshold] is not None]
    fallen = [r for r in reached if fell_back(r, threshold)]
    kept = [r for r in reached if not fell_back(r, threshold) and None not in r[f"{threshold}_interval"]]
    widths = [r[f"{threshold}_interval"][1] - r[f"{threshold}_interval"][0] for r in kept]
    return {
        "reached": len(reached),
        "fell_back_to_c0": len(fallen),
        "n": len(kept),
        # The mean absolute value of a normal variable whose 95 % interval is so wide.
        "mean_error_they_stand_for": float(np.mean(widths)) * math.sqrt(2 / math.pi) / 3.92 if widths else None,
    }


def fell_back(record: Record, threshold: str) -> bool:
    """Whether a recorded interval starts at c0 although the threshold lies above a dose of the coarse scan.

    Before searches asked the bootstrap itself where to stop (`scouting.STRAY`), they could end at a dose that the
    bootstrap lifts to the level in more than 2.5 % of its draws; the lower end then fell back to the undosed model.
    """
    value, low = record[threshold], record[f"{threshold}_interval"][0]
    if value is None or low is None or abs(low - record["c0"]) > _ROUNDED:
        return False
    return bool(value > curve_from_json(record["curve"]).coordinate(geometry.dose_for(COARSE_COORDINATES[0])))
