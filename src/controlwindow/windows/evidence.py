"""Measured ceilings as arrays, and how far a prediction of them is off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from controlwindow.windows.calibration import Observation
from controlwindow.windows.predictors import Scale, Subjects, from_scale, subjects_as_arrays, to_scale

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Observations side by side.

    Attributes:
        observations: The observations, [n].
        subjects: Their subjects.
    """

    observations: tuple[Observation, ...]
    subjects: Subjects

    def __len__(self) -> int:
        return len(self.observations)

    @cached_property
    def reached(self) -> Bools:
        """Whether each ceiling was reached, [n]."""
        return np.array([o.ceiling is not None for o in self.observations], dtype=bool)

    @cached_property
    def coordinates(self) -> Floats:
        """Measured ceilings in c; where not reached, the limit up to which they were not, [n]."""
        return np.array([o.subject.limit if o.ceiling is None else o.ceiling for o in self.observations])

    def locations(self, scale: Scale) -> Floats:
        """The same in a predictor's scale, [n]."""
        return to_scale(self.coordinates, self.subjects.cosines, scale)

    @cached_property
    def lineages(self) -> tuple[str, ...]:
        """The lineages, each once."""
        return tuple(sorted({o.lineage for o in self.observations}))

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The models, each once, in the order in which they come."""
        return tuple(dict.fromkeys(o.fingerprint for o in self.observations))

    @cached_property
    def weights(self) -> Floats:
        """Weights that make every lineage count the same, summing to 1, [n]."""
        counts: dict[str, int] = {}
        for o in self.observations:
            counts[o.lineage] = counts.get(o.lineage, 0) + 1
        weights = np.array([1.0 / counts[o.lineage] for o in self.observations])
        return np.asarray(weights / weights.sum())

    @cached_property
    def folds(self) -> tuple[tuple[Evidence, Evidence], ...]:
        """Each lineage left out in turn: the others, and itself."""
        return tuple(self.parted([o.lineage == lineage for o in self.observations]) for lineage in self.lineages)

    def of_model(self, fingerprint: str) -> Evidence:
        """One model."""
        return self.chosen(np.flatnonzero([o.fingerprint == fingerprint for o in self.observations]))

    def parted(self, held: Sequence[bool] | Bools) -> tuple[Evidence, Evidence]:
        """What is not held out, and what is."""
        mask = np.asarray(held, dtype=bool)
        return self.chosen(np.flatnonzero(~mask)), self.chosen(np.flatnonzero(mask))

    def chosen(self, places: Sequence[int] | NDArray[np.int64]) -> Evidence:
        """The observations at some places."""
        chosen = np.asarray(places, dtype=np.int64)
        return Evidence(tuple(self.observations[i] for i in chosen), self.subjects.chosen(chosen))

    def thinned(self, most: int) -> Evidence:
        """At most so many observations of a lineage, evenly spaced."""
        kept: list[int] = []
        for lineage in self.lineages:
            mine = [place for place, o in enumerate(self.observations) if o.lineage == lineage]
            kept += mine[:: max(1, -(-len(mine) // most))]
        return self.chosen(sorted(kept))

    def errors(self, locations: Floats, scale: Scale) -> Floats:
        """|predicted − measured| in c of locations in a scale, both cut at the limit, [n].

        So a ceiling that is rightly predicted not to be reached has no error, and a wrong prediction of either kind
        is off by its distance from the limit.
        """
        limits = self.subjects.limits
        predicted = np.minimum(from_scale(locations, self.subjects.cosines, scale), limits)
        return np.asarray(np.abs(predicted - np.minimum(self.coordinates, limits)))


def evidence_of(observations: Sequence[Observation]) -> Evidence:
    """Put observations side by side."""
    subjects = subjects_as_arrays([o.subject for o in observations], [o.behavior for o in observations])
    return Evidence(tuple(observations), subjects)
