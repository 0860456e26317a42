"""How well single neurons detect a behavior: the area under the curve of their activation at the last prompt position.

A controller need not detect anything (a silent neuron does not), and a detector need not control anything; the area
beside a screen's score shows the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from controlwindow.instruments.arrays import unpack_array
from controlwindow.models import Model
from controlwindow.statistics import pairs_above

Floats = NDArray[np.float64]

_COLUMNS = 2048
"""Neurons whose pairs of prompts are compared at once."""


def areas_under_curves(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Area under the ROC curve of every column, with its standard error.

    The area is the share of pairs of one prompt of X+ and one of X− in which X+ is higher, ties counted half. The error
    is that of DeLong et al. (1988): with V the mean over the other side of a prompt's comparisons,
    var = var(V₊)/n₊ + var(V₋)/n₋.

    Args:
        positive: Activations on X+, [prompts, neurons], at least two prompts.
        negative: Activations on X−, [prompts, neurons], at least two prompts.

    Returns:
        Areas and standard errors, [neurons] each.
    """
    areas, errors = [], []
    for start in range(0, positive.shape[1], _COLUMNS):
        chosen = slice(start, start + _COLUMNS)
        above = pairs_above(positive[:, chosen], negative[:, chosen])
        over_negative, over_positive = above.mean(1), above.mean(0)
        areas.append(over_negative.mean(0))
        variance = over_negative.var(0, ddof=1) / len(over_negative) + over_positive.var(0, ddof=1) / len(over_positive)
        errors.append(np.sqrt(variance))
    return np.concatenate(areas), np.concatenate(errors)


def area_interval(areas: Floats, errors: Floats, counts: tuple[int, int], level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of areas on the logit scale, which keeps it inside 0 and 1.

    An area of 0 or 1 has no DeLong error; its other end is the exact (Clopper–Pearson) one of a share of 0 or 1 among
    as many prompts as the smaller side has, which is wide on purpose.

    Args:
        areas: Areas, [neurons].
        errors: Their standard errors, [neurons].
        counts: Prompts in X+ and X−.
        level: Two-sided level.

    Returns:
        Lower and upper ends, [neurons] each.
    """
    inside = (areas > 0) & (areas < 1)
    clipped = np.where(inside, areas, 0.5)
    width = stats.norm.ppf((1 + level) / 2) * errors / (clipped * (1 - clipped))
    middle = np.log(clipped / (1 - clipped))
    low, high = (1 / (1 + np.exp(-(middle + sign * width))) for sign in (-1, 1))
    reach = 1 - ((1 - level) / 2) ** (1 / min(counts))
    low = np.where(inside, low, np.where(areas >= 1, 1 - reach, 0.0))
    high = np.where(inside, high, np.where(areas >= 1, 1.0, reach))
    return low, high


def detection_table(model: Model, row: Mapping[str, Any]) -> pl.DataFrame:
    """The areas of every neuron, in the order of the model's neurons.

    Args:
        model: The model.
        row: The row of an `AreaCell`.

    Returns:
        neuron, auc, auc_low, auc_high (95 %, DeLong on the logit scale). Above 0.5, X+ excites the neuron more.
    """
    areas, errors = unpack_array(row["areas"]), unpack_array(row["errors"])
    low, high = area_interval(areas, errors, (row["counts"][0], row["counts"][1]))
    return pl.DataFrame(
        {"neuron": [str(neuron) for neuron in model.neurons], "auc": areas, "auc_low": low, "auc_high": high}
    )
