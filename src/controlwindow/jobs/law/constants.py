"""Predicted ceilings against constants: each, the best of them, the best in hindsight, and where constants suffice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.fits import weighted_median
from controlwindow.jobs.law.lineages import lineage_mean, lineage_skill
from controlwindow.jobs.law.records import Record
from controlwindow.jobs.law.resampling import Estimate, mean_estimate, skill_estimate
from controlwindow.windows.calibrating import REPORTED_CEILING

Predict = Callable[[Record], float | None]

FAR = 0.2
"""A model whose median ceiling lies further than this from the reported constant is one that no constant fits."""


def constants_of(setting: str) -> dict[str, Predict]:
    """Constants by name: what each predicts for a pair, None where its curve does not get there."""

    def read(name: str) -> Predict:
        return lambda r: r[setting].get("predictors", {}).get(name)

    def reported(r: Record) -> float | None:
        return None if r["plateau"] is not None and r["plateau"] <= REPORTED_CEILING else REPORTED_CEILING

    return {
        "chosen on calibration": lambda r: r[setting]["constant"],
        "reported c = 0.82": reported,
        "reported, as a dose": read("reported_constant"),
        "median dose": read("constant"),
        "median c": read("constant_coordinate"),
    }


def best_of_constants(pairs: Sequence[Record], setting: str) -> tuple[str, Predict]:
    """The constant that errs least on these very pairs, which makes it harder to beat than any chosen before.

    Only constants that speak on as many pairs as any other are compared.
    """
    known = constants_of(setting)
    spoken = {name: sum(predict(r) is not None for r in pairs) for name, predict in known.items()}
    most = max(spoken.values())

    def error(name: str) -> float:
        value = mean_error(pairs, known[name], setting).value
        return math.inf if value is None else value

    best = min((name for name in known if spoken[name] == most), key=error)
    return best, known[best]


def mean_error(pairs: Sequence[Record], predict: Predict, setting: str) -> Estimate:
    """Mean absolute error in c: pairs weigh the same in known models, lineages where they are left out."""
    used = [r for r in pairs if predict(r) is not None]
    return error_estimate(used, errors_of(used, predict), setting)


def error_estimate(pairs: Sequence[Record], values: Sequence[float], setting: str) -> Estimate:
    """A mean of values of pairs with the interval of the setting."""
    if setting != "known":
        return lineage_mean(pairs, values)
    return mean_estimate(values, *clusters_of(pairs))


def clusters_of(pairs: Sequence[Record]) -> tuple[list[str], list[str]]:
    """What a bootstrap within known models resamples, and within what: write columns within models."""
    return [column_of(r) for r in pairs], [r["model"] for r in pairs]


def skill_against(pairs: Sequence[Record], mine: Predict, baseline: Predict, setting: str) -> Estimate:
    """Skill on the pairs that the baseline speaks on."""
    used = [r for r in pairs if baseline(r) is not None]
    errors, against = errors_of(used, mine), errors_of(used, baseline)
    if setting != "known":
        return lineage_skill(used, errors, against)
    return skill_estimate(errors, against, *clusters_of(used))


def errors_of(pairs: Sequence[Record], predict: Predict) -> list[float]:
    """Absolute errors in c of pairs that reached their ceiling and are predicted to."""
    found = []
    for r in pairs:
        value = predict(r)
        assert value is not None
        found.append(abs(float(value) - r["ceiling"]))
    return found


def constant_scores(pairs: Sequence[Record], mine: Predict, setting: str) -> dict[str, Any]:
    """Every constant with its error and the skill against it.

    Args:
        pairs: Pairs that reached their ceiling and are predicted to.
        mine: The prediction that is held against them.
        setting: "known" or "left_out".
    """
    if not pairs:
        return {}
    best, predict = best_of_constants(pairs, setting)
    hindsight = _hindsight(pairs, setting)
    near = [r for r in pairs if r["model"] not in far_models(pairs)]
    return {
        "best": best,
        "each": {
            name: {
                "mae": mean_error(pairs, constant, setting).to_json(),
                "skill": skill_against(pairs, mine, constant, setting).to_json(),
            }
            for name, constant in constants_of(setting).items()
        },
        "in_hindsight": {
            "c": hindsight,
            "mae": mean_error(pairs, lambda r: hindsight, setting).to_json(),
            "skill": skill_against(pairs, mine, lambda r: hindsight, setting).to_json(),
        },
        "without_far_models": {
            "left_out": sorted(far_models(pairs)),
            "mae": mean_error(near, mine, setting).to_json(),
            "mae_best": mean_error(near, predict, setting).to_json(),
            "skill": skill_against(near, mine, predict, setting).to_json(),
        },
    }


def far_models(pairs: Sequence[Record]) -> set[str]:
    """Models whose median measured ceiling lies further than `FAR` from the reported constant."""
    return {
        model
        for model in {r["model"] for r in pairs}
        if abs(float(np.median([r["ceiling"] for r in pairs if r["model"] == model])) - REPORTED_CEILING) > FAR
    }


def _hindsight(pairs: Sequence[Record], setting: str) -> float:
    """The one c that errs least on these pairs: their median, lineages weighing the same where they are left out."""
    lineages = [r["lineage"] for r in pairs]
    weights = np.array([1.0 if setting == "known" else 1.0 / lineages.count(name) for name in lineages])
    return weighted_median(np.array([r["ceiling"] for r in pairs]), weights)
