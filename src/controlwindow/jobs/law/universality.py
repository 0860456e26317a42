"""Which coordinate carries trigger and ceiling: leave-one-out errors of constant α, t and c; what explains the rest.

Every constant predicts a dose, and the error is in log dose, so that the three compare: log α and log t of one neuron
differ by a constant, and a coordinate becomes a dose through the neuron's own curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.jobs.law.candidates import NATURAL
from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.ceilings import dose_at
from controlwindow.jobs.law.lineages import pair_mean
from controlwindow.jobs.law.records import Record
from controlwindow.jobs.law.resampling import Estimate, mean_estimate

INFORMATIVE = 0.2
"""|c0| above which constant c and constant t say something different (method section 1)."""

FACTORS: dict[str, Callable[[Record], Hashable | float]] = {
    "model": lambda r: r["model"],
    "layer": lambda r: f"{r['model']} {r['layer']}",
    "depth": lambda r: float(r["depth"]),
    "region": lambda r: r["region"],
    "width": lambda r: float(r["width"]),
    "family": lambda r: r["family"],
    "behavior": lambda r: r["behavior"],
    "c0": lambda r: float(r["c0"]),
    "planted": lambda r: "natural" if r["source"] in NATURAL else "planted",
}
"""What may explain where a threshold lies: names are categories, numbers enter linearly."""

SCOPES: dict[str, Callable[[Record, Record], bool]] = {
    "within_models": lambda r, o: o["model"] == r["model"] and column_of(o) != column_of(r),
    "across_lineages": lambda r, o: o["lineage"] != r["lineage"],
}
"""Which other pairs a constant is taken from, for a pair that is left out."""

_LEAST = 3

Floats = NDArray[np.float64]


def universality(records: Sequence[Record]) -> dict[str, Any]:
    """Both thresholds of every measured pair, natural neurons and planted ones apart.

    Args:
        records: All records; calibration and held-out pairs count alike, as nothing is predicted here.
    """
    found: dict[str, Any] = {}
    for threshold in ("ceiling", "trigger"):
        reached = [r for r in records if r[threshold] is not None and _dose(r, threshold) is not None]
        natural = [r for r in reached if r["source"] in NATURAL]
        planted = [r for r in reached if r["source"] not in NATURAL]
        informative = [r for r in natural if abs(r["c0"]) > INFORMATIVE]
        found[threshold] = {
            "natural": _constants(natural, threshold),
            "natural, |c0| > 0.2": _constants(informative, threshold, others=natural),
            "planted": _constants(planted, threshold),
            "explained": explained(reached, threshold),
        }
    return found


def _constants(pairs: Sequence[Record], threshold: str, others: Sequence[Record] | None = None) -> dict[str, Any]:
    """Mean absolute leave-one-out error in log dose of each constant: within models, and across lineages.

    Args:
        pairs: Pairs that are predicted.
        threshold: "ceiling" or "trigger".
        others: Pairs that the constants are taken from; default the same.
    """
    pool = pairs if others is None else others
    return {"n": len(pairs), **{scope: _scope(pairs, pool, threshold, scope) for scope in SCOPES}}


def _scope(pairs: Sequence[Record], pool: Sequence[Record], threshold: str, scope: str) -> dict[str, Any]:
    allowed = SCOPES[scope]
    rows: list[list[float]] = []
    used: list[Record] = []
    values = {id(o): (_log_dose(o, threshold), o[threshold], math.log(o["budget"])) for o in pool}
    for r in pairs:
        rest = [values[id(o)] for o in pool if allowed(r, o)]
        if len(rest) < _LEAST:
            continue
        log_t = _log_dose(r, threshold)
        log_b = math.log(r["budget"])
        constant_t = float(np.median([t for t, _, _ in rest]))
        constant_alpha = float(np.median([t + b for t, _, b in rest])) - log_b
        from_c = dose_at(r, float(np.median([c for _, c, _ in rest])))
        if from_c is None or from_c <= 0:
            continue
        used.append(r)
        rows.append([abs(constant_alpha - log_t), abs(constant_t - log_t), abs(math.log(from_c) - log_t)])
    if not rows:
        return {"n": 0}
    names = ("alpha", "t", "c")
    errors = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    difference = [t - c for t, c in zip(errors["t"], errors["c"], strict=True)]
    return {
        "n": len(used),
        **{name: _mean(used, values, scope).to_json() for name, values in errors.items()},
        "t_minus_c": _mean(used, difference, scope).to_json(),
    }


def _mean(pairs: Sequence[Record], values: Sequence[float], scope: str) -> Estimate:
    """A mean over pairs; what is resampled is neurons within models, or what lies between lineages is Student's."""
    if scope == "across_lineages":
        return pair_mean(pairs, values)
    return mean_estimate(values, [column_of(r) for r in pairs], [r["model"] for r in pairs])


def explained(pairs: Sequence[Record], threshold: str) -> dict[str, Any]:
    """Variance decomposition of log t: R² of each factor alone, of all, and what is lost without each.

    Least squares with a column for each category; "layer" is each layer of each model, so it holds "model" and the
    depth. Factors that do not vary are left out.
    """
    y = np.array([_log_dose(r, threshold) for r in pairs])
    if len(y) < 2 * _LEAST or float(y.var()) == 0:
        return {"n": len(y)}
    blocks = {name: _columns([factor(r) for r in pairs]) for name, factor in FACTORS.items()}
    blocks = {name: block for name, block in blocks.items() if block.shape[1]}
    whole = _r_squared(y, list(blocks.values()))
    return {
        "n": len(y),
        "variance_log_t": float(y.var()),
        "all": whole,
        "alone": {name: _r_squared(y, [block]) for name, block in blocks.items()},
        "lost_without": {
            name: whole - _r_squared(y, [b for other, b in blocks.items() if other != name]) for name in blocks
        },
    }


def _columns(values: Sequence[Hashable | float]) -> Floats:
    if all(isinstance(value, float) for value in values):
        column = np.array(values, np.float64)
        return column[:, None] - column.mean() if float(column.std()) > 0 else np.zeros((len(values), 0))
    names = sorted({str(value) for value in values})
    return np.array([[float(str(value) == name) for name in names[1:]] for value in values]).reshape(len(values), -1)


def _r_squared(y: Floats, blocks: Sequence[Floats]) -> float:
    design = np.column_stack([np.ones(len(y)), *blocks])
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return 1 - float(((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _dose(record: Record, threshold: str) -> float | None:
    t = dose_at(record, record[threshold])
    return t if t is not None and t > 0 and record["budget"] > 0 else None


def _log_dose(record: Record, threshold: str) -> float:
    t = _dose(record, threshold)
    assert t is not None
    return math.log(t)
