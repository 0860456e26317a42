"""Neurons that share a write column: one dose of either is the same intervention, so they are one case."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.catalogue import Card
from controlwindow.instruments.dosing import limit_directions
from controlwindow.models import Model, Neuron

SAME = 1e-6
"""1 − cos up to which two write directions are one; a copy stored in half precision at another scale has 1e-7."""

Floats = NDArray[np.float64]


def shared_columns(model: Model) -> dict[str, str]:
    """Every neuron that writes in the direction of an earlier one of its layer and expert, with that one's name.

    Lengths do not count: the budget divides by them, so that equal doses t move the residual alike. Opposite directions
    are not looked for.
    """
    found: dict[str, str] = {}
    for layer in range(model.layers):
        directions = limit_directions(model, layer).double().cpu().numpy()
        neurons = [model.neurons.at(layer, column) for column in range(directions.shape[1])]
        for members in _by_expert(neurons):
            first: dict[int, int] = {}
            for one, other in equal_columns(directions[:, members]):
                first.setdefault(other, first.get(one, one))
            found |= {str(neurons[members[other]]): str(neurons[members[one]]) for other, one in first.items()}
    return found


def population_of(model: Model, card: Card | None) -> dict[str, Any]:
    """What measured neurons were taken from: all that can be dosed, and by behavior how many a census found open."""
    dosed = sum(int((limit_directions(model, layer).norm(dim=0) > 0).sum()) for layer in range(model.layers))
    census = {} if card is None or card.census is None else card.census["open"]
    return {"neurons": dosed, "census_open": {behavior: len(found["neurons"]) for behavior, found in census.items()}}


def _by_expert(neurons: list[Neuron]) -> Iterator[list[int]]:
    experts: dict[int | None, list[int]] = {}
    for column, neuron in enumerate(neurons):
        experts.setdefault(neuron.expert, []).append(column)
    yield from experts.values()


def equal_columns(columns: Floats) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of columns [d_model, neurons] of one direction, in order; columns of length 0 have none.

    Two unit vectors of one direction project alike on any third, so that only neighbours of a sorted projection are
    compared.
    """
    lengths = np.linalg.norm(columns, axis=0)
    live = np.flatnonzero(lengths > 0)
    units = columns[:, live] / lengths[live]
    axis = np.random.default_rng(0).normal(size=len(columns))
    projections = (axis / np.linalg.norm(axis)) @ units
    order = np.argsort(projections)
    reach = math.sqrt(2 * SAME)
    found = []
    for step in range(1, len(order)):
        near = np.flatnonzero(projections[order[step:]] - projections[order[:-step]] <= reach)
        if not len(near):
            break
        one, other = order[near], order[near + step]
        same = (units[:, one] * units[:, other]).sum(axis=0) >= 1 - SAME
        found += [(int(live[min(a, b)]), int(live[max(a, b)])) for a, b in zip(one[same], other[same], strict=True)]
    return sorted(found)
