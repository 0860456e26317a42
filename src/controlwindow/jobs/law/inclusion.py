"""Weights of measured neurons: the inverse of the chance with which each was taken among its model's neurons.

Three strata for each model and behavior: the screen's top, taken for certain; the controllers that a census had found,
some of which were drawn; and all other neurons, some of which were drawn at random. A neuron stands for the neurons of
its stratum divided by those measured. Models weigh the same, however many neurons and behaviors they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def inclusion_weights(
    neurons: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """The neurons with their weights, which sum to 1 in every model.

    Args:
        neurons: One entry a model, behavior and neuron, with its source: "screened", "natural" or "random".
        models: `population` of each: `neurons`, all that have a dose, and `census_open`, by behavior how many the
            census found open.

    Returns:
        None where the population of a model is not known.
    """
    counts = Counter((n["model"], n["behavior"], n["source"]) for n in neurons)
    found = []
    for n in neurons:
        population = models.get(n["model"], {}).get("population")
        if population is None:
            return None
        place = (n["model"], n["behavior"])
        screened, natural = counts[(*place, "screened")], counts[(*place, "natural")]
        known = max(population["census_open"].get(n["behavior"], 0), natural)
        sizes = {"screened": screened, "natural": known, "random": population["neurons"] - screened - known}
        found.append({**n, "weight": sizes[n["source"]] / counts[(*place, n["source"])]})
    totals: dict[str, float] = {}
    for n in found:
        totals[n["model"]] = totals.get(n["model"], 0.0) + n["weight"]
    return [{**n, "weight": n["weight"] / totals[n["model"]]} for n in found]
