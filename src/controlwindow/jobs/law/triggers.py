"""Scores of predicted triggers: error where one is reached, coverage, and how well reaching it is foreseen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from controlwindow.jobs.law.candidates import NATURAL
from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.records import Record, held_out
from controlwindow.jobs.law.resampling import mean_estimate
from controlwindow.statistics import area_under_roc, wilson_interval


def trigger_scores(records: Sequence[Record], setting: str) -> dict[str, Any]:
    """Triggers of held-out pairs, natural neurons and planted ones apart.

    A pair whose trigger is reached and predicted counts for the error, which says nothing of those that are reached and
    predicted not to be. One that is reached counts for the coverage of the 90 % interval, which speaks of a trigger
    that is reached. All pairs count for the area under the curve of the predicted probability.

    Args:
        records: All records.
        setting: "known" or "left_out".
    """
    pairs = held_out(records, setting)
    groups = {
        "natural": [r for r in pairs if r["source"] in NATURAL],
        "planted": [r for r in pairs if r["source"] not in NATURAL],
    }
    return {name: _scores(group, setting) for name, group in groups.items()}


def _scores(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    reached = [r for r in pairs if r["trigger"] is not None]
    both = [r for r in reached if r[setting]["trigger"][0] is not None]
    inside = sum(r[setting]["trigger"][1] <= r["trigger"] <= r[setting]["trigger"][2] for r in reached)
    chance = np.array([1 - r[setting]["trigger"][3] for r in pairs])
    is_reached = np.array([r["trigger"] is not None for r in pairs], dtype=bool)
    errors = [abs(r[setting]["trigger"][0] - r["trigger"]) for r in both]
    return {
        "pairs": len(pairs),
        "reached": len(reached),
        "reached_and_predicted": len(both),
        "predicted_reached": sum(r[setting]["trigger"][0] is not None for r in pairs),
        "mae": mean_estimate(errors, [column_of(r) for r in both], [r["model"] for r in both]).to_json(),
        "coverage": inside / len(reached) if reached else None,
        "coverage_interval": list(wilson_interval(inside, len(reached))),
        "auc_reached": float(area_under_roc(chance[~is_reached], chance[is_reached]))
        if is_reached.any() and not is_reached.all()
        else None,
    }
