"""Scores of predicted ceilings: errors, skill against the median and the best constant, coverage, not reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from controlwindow.curves import curve_from_json
from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.constants import (
    Predict,
    best_of_constants,
    constant_scores,
    error_estimate,
    mean_error,
    skill_against,
)
from controlwindow.jobs.law.noise import fell_back
from controlwindow.jobs.law.records import Record, held_out
from controlwindow.models import Neuron
from controlwindow.statistics import wilson_interval

SETTINGS = ("known", "left_out")
"""The model was among those fitted (on other neurons of it), or its whole lineage was left out."""


def predicted(record: Record, setting: str) -> float | None:
    """The predicted ceiling; None for not reached."""
    value: float | None = record[setting]["ceiling"][0]
    return value


def ceiling_scores(records: Sequence[Record], setting: str) -> dict[str, Any]:
    """All scores of one setting.

    Known models: every pair weighs the same, and the bootstrap resamples neurons within models. Lineages left out:
    every lineage weighs the same, and intervals are Student's over lineages.

    Args:
        records: All records of a validation, every case once.
        setting: "known" or "left_out".
    """
    pairs = held_out(records, setting)
    both = [r for r in pairs if r["ceiling"] is not None and predicted(r, setting) is not None]
    errors = [_error(r, predicted(r, setting)) for r in both]
    biases = [_signed(r, predicted(r, setting)) for r in both]
    logs = [e for r in both if (e := log_dose_error(r, predicted(r, setting))) is not None]
    scored = [r for r in both if log_dose_error(r, predicted(r, setting)) is not None]
    best = best_of_constants(both, setting)[1]

    def mine(r: Record) -> float | None:
        return predicted(r, setting)

    def chosen(r: Record) -> float | None:
        value: float | None = r[setting]["constant"]
        return value

    def median(r: Record) -> float | None:
        value: float | None = r[setting]["median"]
        return value

    return {
        "pairs": len(pairs),
        "neurons": len({(r["model"], column_of(r)) for r in pairs}),
        "lineages": len({r["lineage"] for r in pairs}),
        "lineages_scored": len({r["lineage"] for r in both}),
        "mae": error_estimate(both, errors, setting).to_json(),
        "bias": error_estimate(both, biases, setting).to_json(),
        "mae_log_t": error_estimate(scored, [abs(e) for e in logs], setting).to_json(),
        "by_region": _by(both, errors, "region", setting),
        "by_model": _by(both, errors, "model", setting),
        "by_lineage": _by(both, errors, "lineage", setting),
        "by_behavior": _by(both, errors, "behavior", setting),
        "by_source": _by(both, errors, "source", setting),
        "by_routing": _by([{**r, "routing": _routing(r)} for r in both], errors, "routing", setting),
        "skill_vs_median": skill_against(both, mine, median, setting).to_json(),
        "skill_vs_constant": skill_against(both, mine, best, setting).to_json(),
        "skill_vs_chosen_constant": skill_against(both, mine, chosen, setting).to_json(),
        "mae_median": mean_error(both, median, setting).to_json(),
        "mae_constant": mean_error(both, best, setting).to_json(),
        "constants": constant_scores(both, mine, setting),
        "skill_by_lineage": _skill_by_lineage(both, setting, mine, best),
        "predictors": _predictors(pairs, setting),
        "coverage": coverage(pairs, setting),
        "coverage_by_model": _coverage_by(pairs, setting, "model"),
        "coverage_by_lineage": _coverage_by(pairs, setting, "lineage"),
        "coverage_without_fallen_intervals": coverage([r for r in pairs if not fell_back(r, "ceiling")], setting),
        "not_reached": not_reached(pairs, setting),
    }


def not_reached(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    """ "Not reached" as a class: the censored share, and the confusion of measured (rows) and predicted (columns)."""
    counts = {"reached": {"reached": 0, "not_reached": 0}, "not_reached": {"reached": 0, "not_reached": 0}}
    for r in pairs:
        measured = "not_reached" if r["ceiling"] is None else "reached"
        counts[measured]["not_reached" if predicted(r, setting) is None else "reached"] += 1
    censored = sum(counts["not_reached"].values())
    right = counts["reached"]["reached"] + counts["not_reached"]["not_reached"]
    return {
        "n": len(pairs),
        "censored_share": censored / len(pairs) if pairs else None,
        "confusion": counts,
        "accuracy": right / len(pairs) if pairs else None,
        "accuracy_interval": list(wilson_interval(right, len(pairs))),
    }


def coverage(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    """Share of measured ceilings inside the nominal 90 % intervals; "not reached" lies above every c."""
    inside = sum(covers(r[setting]["ceiling"], r["ceiling"]) for r in pairs)
    return {
        "value": inside / len(pairs) if pairs else None,
        "interval": list(wilson_interval(inside, len(pairs))),
        "n": len(pairs),
        "nominal": 0.9,
    }


def covers(ceiling: Sequence[float | None], measured: float | None) -> bool:
    """Whether a predicted interval holds what was measured; an end that is None is not reached.

    Example:
        >>> covers([0.7, 0.6, None, 0.1], None), covers([0.7, 0.6, 0.8, 0.0], None), covers([0.7, 0.6, 0.8, 0.0], 0.75)
        (True, False, True)
    """
    low, high = (math.inf if end is None else end for end in ceiling[1:3])
    value = math.inf if measured is None else measured
    return low <= value <= high


def log_dose_error(record: Record, ceiling: float | None) -> float | None:
    """log t of a predicted ceiling minus log t of the measured one; None where the curve gives either no dose."""
    if ceiling is None or record["ceiling"] is None:
        return None
    doses = [dose_at(record, c) for c in (ceiling, record["ceiling"])]
    if any(t is None or t <= 0 for t in doses):
        return None
    return math.log(doses[0]) - math.log(doses[1])  # type: ignore[arg-type]


def dose_at(record: Record, coordinate: float) -> float | None:
    """t at which a pair's curve has a coordinate; None where no dose does."""
    try:
        return curve_from_json(record["curve"]).dose(coordinate)
    except (ValueError, ZeroDivisionError):
        return None


def _error(record: Record, ceiling: float | None) -> float:
    return abs(_signed(record, ceiling))


def _signed(record: Record, ceiling: float | None) -> float:
    assert ceiling is not None
    return float(ceiling - record["ceiling"])


def _routing(record: Record) -> str:
    """Neurons of routed experts act where the router goes; all others everywhere."""
    return "routed" if Neuron.parse(record["neuron"]).expert is not None else "everywhere"


def _by(pairs: Sequence[Record], errors: Sequence[float], key: str, setting: str) -> dict[str, Any]:
    found = {}
    for name in sorted({r[key] for r in pairs}):
        places = [i for i, r in enumerate(pairs) if r[key] == name]
        # Within one lineage nothing but neurons is left to resample.
        own = "known" if key in ("model", "lineage") else setting
        found[name] = error_estimate([pairs[i] for i in places], [errors[i] for i in places], own).to_json()
    return found


def _coverage_by(pairs: Sequence[Record], setting: str, key: str) -> dict[str, Any]:
    return {name: coverage([r for r in pairs if r[key] == name], setting) for name in sorted({r[key] for r in pairs})}


def _skill_by_lineage(pairs: Sequence[Record], setting: str, mine: Predict, constant: Predict) -> dict[str, Any]:
    found = {}
    for lineage in sorted({r["lineage"] for r in pairs}):
        used = [r for r in pairs if r["lineage"] == lineage and constant(r) is not None]
        found[lineage] = {
            "mae": mean_error(used, mine, setting).value,
            "mae_constant": mean_error(used, constant, setting).value,
            # Within one lineage nothing but neurons is left to resample.
            "skill_vs_constant": skill_against(used, mine, constant, "known").to_json(),
        }
    return found


def _predictors(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    """Error of every predictor, on the pairs that reached their ceiling and that it gives one for."""
    found = {}
    for name in sorted({name for r in pairs for name in r[setting].get("predictors", {})}):
        used = [r for r in pairs if r["ceiling"] is not None and r[setting]["predictors"].get(name) is not None]
        errors = [_error(r, r[setting]["predictors"][name]) for r in used]
        found[name] = error_estimate(used, errors, setting).to_json()
    return found
