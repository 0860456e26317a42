"""Scores of predicted ceilings: errors, skill against the median and the best constant, coverage, not reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from controlwindow.curves import curve_from_json
from controlwindow.jobs.law.records import Record, held_out
from controlwindow.jobs.law.resampling import Estimate, group_means, mean_estimate, skill_estimate
from controlwindow.statistics import wilson_interval

Predict = Callable[[Record], float | None]

SETTINGS = ("known", "left_out")
"""The model was among those fitted (on other neurons of it), or its whole lineage was left out."""


def predicted(record: Record, setting: str) -> float | None:
    """The predicted ceiling; None for not reached."""
    value: float | None = record[setting]["ceiling"][0]
    return value


def ceiling_scores(records: Sequence[Record], setting: str) -> dict[str, Any]:
    """All scores of one setting.

    Known models: every pair weighs the same, and the bootstrap resamples neurons within models. Lineages left out:
    every lineage weighs the same, and the bootstrap resamples lineages.

    Args:
        records: All records of a validation.
        setting: "known" or "left_out".
    """
    pairs = held_out(records, setting)
    both = [r for r in pairs if r["ceiling"] is not None and predicted(r, setting) is not None]
    mean = _mean_by(setting)
    errors = [_error(r, predicted(r, setting)) for r in both]
    biases = [_signed(r, predicted(r, setting)) for r in both]
    logs = [e for r in both if (e := log_dose_error(r, predicted(r, setting))) is not None]
    scored = [r for r in both if log_dose_error(r, predicted(r, setting)) is not None]
    return {
        "pairs": len(pairs),
        "neurons": len({(r["model"], r["neuron"]) for r in pairs}),
        "lineages": len({r["lineage"] for r in pairs}),
        "mae": mean(both, errors).to_json(),
        "bias": mean(both, biases).to_json(),
        "mae_log_t": mean(scored, [abs(e) for e in logs]).to_json(),
        "by_region": _by(both, errors, "region", mean),
        "by_model": _by(both, errors, "model", mean),
        "by_lineage": _by(both, errors, "lineage", mean),
        "by_behavior": _by(both, errors, "behavior", mean),
        "by_source": _by(both, errors, "source", mean),
        "skill_vs_median": _skill(both, setting, lambda r: r[setting]["median"]).to_json(),
        "skill_vs_constant": _skill(both, setting, lambda r: r[setting]["constant"]).to_json(),
        "mae_median": _baseline(both, setting, lambda r: r[setting]["median"]).to_json(),
        "mae_constant": _baseline(both, setting, lambda r: r[setting]["constant"]).to_json(),
        "skill_by_lineage": _skill_by_lineage(both, setting),
        "predictors": _predictors(pairs, setting),
        "coverage": coverage(pairs, setting),
        "coverage_by_model": {
            model: coverage([r for r in pairs if r["model"] == model], setting)
            for model in sorted({r["model"] for r in pairs})
        },
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


def _mean_by(setting: str) -> Callable[[Sequence[Record], Sequence[float]], Estimate]:
    return _known_mean if setting == "known" else lineage_mean


def _known_mean(pairs: Sequence[Record], values: Sequence[float]) -> Estimate:
    return mean_estimate(values, [r["neuron"] for r in pairs], [r["model"] for r in pairs])


def lineage_mean(pairs: Sequence[Record], values: Sequence[float]) -> Estimate:
    """Mean over lineages of each lineage's mean, with an interval that resamples lineages."""
    means = group_means(values, [r["lineage"] for r in pairs])
    found = mean_estimate(list(means.values()), list(means), [""] * len(means))
    return found._replace(n=len(values))


def _by(
    pairs: Sequence[Record],
    errors: Sequence[float],
    key: str,
    mean: Callable[[Sequence[Record], Sequence[float]], Estimate],
) -> dict[str, Any]:
    found = {}
    for name in sorted({r[key] for r in pairs}):
        places = [i for i, r in enumerate(pairs) if r[key] == name]
        # Within one lineage nothing but neurons is left to resample.
        own = _known_mean if key in ("model", "lineage") else mean
        found[name] = own([pairs[i] for i in places], [errors[i] for i in places]).to_json()
    return found


def _with(pairs: Sequence[Record], baseline: Predict) -> list[Record]:
    return [r for r in pairs if baseline(r) is not None]


def _baseline(pairs: Sequence[Record], setting: str, baseline: Predict) -> Estimate:
    used = _with(pairs, baseline)
    return _mean_by(setting)(used, [_error(r, baseline(r)) for r in used])


def _skill(pairs: Sequence[Record], setting: str, baseline: Predict) -> Estimate:
    used = _with(pairs, baseline)
    errors = [_error(r, predicted(r, setting)) for r in used]
    against = [_error(r, baseline(r)) for r in used]
    if setting == "known":
        return skill_estimate(errors, against, [r["neuron"] for r in used], [r["model"] for r in used])
    lineages = [r["lineage"] for r in used]
    mine, theirs = group_means(errors, lineages), group_means(against, lineages)
    found = skill_estimate(list(mine.values()), list(theirs.values()), list(mine), [""] * len(mine))
    return found._replace(n=len(used))


def _skill_by_lineage(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    found = {}
    for lineage in sorted({r["lineage"] for r in pairs}):
        used = _with([r for r in pairs if r["lineage"] == lineage], lambda r: r[setting]["constant"])
        errors = [_error(r, predicted(r, setting)) for r in used]
        against = [_error(r, r[setting]["constant"]) for r in used]
        skill = skill_estimate(errors, against, [r["neuron"] for r in used], [r["model"] for r in used])
        found[lineage] = {
            "mae": sum(errors) / len(errors) if errors else None,
            "mae_constant": sum(against) / len(against) if against else None,
            "skill_vs_constant": skill.to_json(),
        }
    return found


def _predictors(pairs: Sequence[Record], setting: str) -> dict[str, Any]:
    """Error of every predictor, on the pairs that reached their ceiling and that it gives one for."""
    mean = _mean_by(setting)
    found = {}
    for name in sorted({name for r in pairs for name in r[setting].get("predictors", {})}):
        used = [r for r in pairs if r["ceiling"] is not None and r[setting]["predictors"].get(name) is not None]
        found[name] = mean(used, [_error(r, r[setting]["predictors"][name]) for r in used]).to_json()
    return found
