"""Curves: from a dose in budget units to the control coordinate of one neuron on one branch, and back.

Without a norm after the FFN the curve is the plain saturation curve, which c0 alone fixes. Under such a norm it is
capped: with x the residual before the FFN is added, m the FFN output before the norm, γ the norm's gain and v the raw
column, a dose t = α‖v‖/‖m‖ gives r(t) = x + √d·γ⊙(m + αv)/√(‖m + αv‖² + d·ε), and c is read against
u = γ⊙v/‖γ⊙v‖ (method section 2). Both are exact for the tokens at hand.

A capped curve is fixed by seven numbers that compare lengths and angles. Taken at one position they give that
position's curve exactly; a neuron's curve takes each one's median over generic positions, as the plain curve takes the
median c0. Medians, and not a sample of positions with the median of c, because seven numbers per neuron serve 200,000
neurons at once and fit into a record. What that costs is in docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from controlwindow import geometry

Floats = NDArray[np.float64]

_SCAN: Floats = np.concatenate([np.arange(0.0, 8.0, 0.02), np.geomspace(8.0, 1e6, 200)])
"""Doses between which an inverse is looked for. A rise and fall within one step of 0.02 is not seen."""

_PEAK = 1e-3
"""How far a peak may stand above the scanned doses beside it; a coordinate in between is read at the peak."""


@dataclass(frozen=True)
class SaturationCurve:
    """The plain curve c(t) = (c0 + t)/√(1 + 2·c0·t + t²) (LAW, abstract; method section 1).

    Attributes:
        cosine: c0, the undosed cosine on the branch.

    Example:
        >>> curve = SaturationCurve(0.25)
        >>> curve.coordinate(0.0), round(curve.dose(curve.coordinate(1.5)), 6), curve.plateau
        (0.25, 1.5, None)
    """

    cosine: float
    kind: ClassVar[str] = "plain"

    @property
    def plateau(self) -> None:
        """No dose is capped: every c below 1 is reached."""
        return None

    def coordinate(self, dose: float) -> float:
        """c at a dose t in budget units."""
        return geometry.control_coordinate(dose, self.cosine)

    def dose(self, coordinate: float) -> float:
        """t at a control coordinate.

        Raises:
            ValueError: No finite dose reaches it (|c| = 1), or no dose moves the cosine (|c0| = 1).
        """
        return geometry.dose_for(coordinate, self.cosine)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class CappedCurve:
    """The curve under a norm after the FFN (method section 2). Every length is a multiple of ‖x‖.

    Attributes:
        skip_cosine: cos(x, u).
        ffn_cosine: cos(γ⊙m, u).
        skip_ffn_cosine: cos(x, γ⊙m).
        raw_cosine: cos(m, v) on the branch, before the gain.
        ffn_length: √d·‖γ⊙m‖/(‖m‖·‖x‖), the undosed write without ε.
        limit_length: √d·‖γ⊙v‖/(‖v‖·‖x‖), the write that a dose of any size tends to.
        epsilon: d·ε/‖m‖², what the norm's ε adds to the squared length of m.

    Example:
        >>> curve = CappedCurve(0.0, 0.0, 0.0, 0.0, ffn_length=0.5, limit_length=0.75)
        >>> curve.cosine, curve.plateau, round(curve.coordinate(1e6), 6)
        (0.0, 0.6, 0.6)
    """

    skip_cosine: float
    ffn_cosine: float
    skip_ffn_cosine: float
    raw_cosine: float
    ffn_length: float
    limit_length: float
    epsilon: float = 0.0
    kind: ClassVar[str] = "capped"

    @property
    def cosine(self) -> float:
        """c0, the undosed cosine."""
        return self.coordinate(0.0)

    @property
    def plateau(self) -> float:
        """The coordinate that a dose of any size tends to."""
        return geometry.control_coordinate(self.limit_length, self.skip_cosine)

    def coordinate(self, dose: float) -> float:
        """c at a dose t in units of ‖m‖/‖v‖."""
        return float(capped_coordinate(dose, **asdict(self)))

    def dose(self, coordinate: float) -> float:
        """The first dose whose coordinate is c, scanning up from 0; where none has it, the first scanning down.

        A curve that rises all the way has one such dose at most. Where m already points along v (`raw_cosine` far from
        0) the curve can fall before it rises, or pass the plateau and come back; then the dose nearest 0 counts, as the
        first crossing does for every threshold.

        Raises:
            ValueError: No dose gives it: it lies beyond the plateau.
        """
        for side, scanned in self._scanned:
            beyond = np.flatnonzero((scanned - coordinate) * np.sign(scanned[0] - coordinate) <= 0)
            if len(beyond) == 0:
                continue
            index = int(beyond[0])
            if index == 0 or scanned[index] == coordinate:
                return side * float(_SCAN[index])
            ends = side * _SCAN[index - 1], side * _SCAN[index]
            return float(brentq(lambda t: self.coordinate(t) - coordinate, *ends, xtol=1e-12, rtol=1e-12))
        side, peak = max(((side, float(scanned.max())) for side, scanned in self._scanned), key=lambda found: found[1])
        if self.plateau < coordinate <= peak + _PEAK:
            return side * float(_SCAN[dict(self._scanned)[side].argmax()])
        raise ValueError(f"no dose reaches c = {coordinate!r}: the plateau is {self.plateau:.4f}")

    @cached_property
    def _scanned(self) -> tuple[tuple[int, Floats], ...]:
        parameters = asdict(self)
        return tuple((side, np.asarray(capped_coordinate(side * _SCAN, **parameters))) for side in (1, -1))

    def to_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {"kind": self.kind, **asdict(self)}


Curve = SaturationCurve | CappedCurve
"""What every curve offers: `kind`, `cosine`, `plateau`, `coordinate(t)`, `dose(c)`, `to_json()`."""


def capped_coordinate(
    dose: ArrayLike,
    *,
    skip_cosine: ArrayLike,
    ffn_cosine: ArrayLike,
    skip_ffn_cosine: ArrayLike,
    raw_cosine: ArrayLike,
    ffn_length: ArrayLike,
    limit_length: ArrayLike,
    epsilon: ArrayLike = 0.0,
) -> Floats:
    """c(t) under a post-FFN norm, for scalars or arrays that broadcast; arguments as in `CappedCurve`.

    In units of ‖x‖ the residual is x̂ + (M·m̂' + t·G·u)/n with n = √(1 + 2kt + t² + ε'), m̂' the direction of γ⊙m, M and G
    the two lengths. Its part along u and its part across are summed apart: the latter is a length, so that medians of
    different positions, which need not fit together, still give a cosine.

    Returns:
        The control coordinate, broadcast; 0 where the residual vanishes.
    """
    t, x_u, w_u, x_w = (np.asarray(a, np.float64) for a in (dose, skip_cosine, ffn_cosine, skip_ffn_cosine))
    # (t + k)² + (1 − k²) equals 1 + 2kt + t² without the cancellation near k = −1.
    k = np.asarray(raw_cosine, np.float64)
    norm = np.sqrt((t + k) ** 2 + (1 - k) * (1 + k) + np.asarray(epsilon, np.float64))
    length = np.asarray(ffn_length, np.float64) / norm
    along = x_u + length * w_u + t * np.asarray(limit_length, np.float64) / norm
    x_across, w_across = np.sqrt((1 - x_u) * (1 + x_u)), np.sqrt((1 - w_u) * (1 + w_u))
    together = np.clip(x_w - x_u * w_u, -x_across * w_across, x_across * w_across)
    across = np.sqrt(np.maximum(x_across**2 + 2 * length * together + (length * w_across) ** 2, 0.0))
    total = np.hypot(along, across)
    return np.asarray(np.clip(along / np.where(total == 0, 1.0, total), -1.0, 1.0))


_MIRRORED = frozenset({"cosine", "skip_cosine", "ffn_cosine", "raw_cosine"})
"""Parameters that change their sign with the branch: the cosines against v."""


def opposite(curve: Curve) -> Curve:
    """The curve of the other branch: v is replaced by −v, so that c(t) becomes −c(−t)."""
    return replace(curve, **{name: -value for name, value in asdict(curve).items() if name in _MIRRORED})


@dataclass(frozen=True, eq=False)
class LayerCurves:
    """The curves of many neurons of one layer, on branch +1 unless `opposite` made it the other.

    Attributes:
        kind: "plain" or "capped".
        parameters: The fields of `SaturationCurve` or `CappedCurve`, each [neurons].
    """

    kind: str
    parameters: Mapping[str, Floats]

    def opposite(self) -> LayerCurves:
        """The curves of the other branch."""
        return LayerCurves(self.kind, {k: -v if k in _MIRRORED else v for k, v in self.parameters.items()})

    def coordinates(self, dose: ArrayLike) -> Floats:
        """c of every neuron at one dose, or at a dose of each, [neurons]."""
        if self.kind == SaturationCurve.kind:
            return np.asarray(geometry.control_coordinate(dose, self.parameters["cosine"]))
        return capped_coordinate(dose, **self.parameters)

    def rising_doses(self, coordinates: Floats) -> Floats:
        """The dose t > 0 at which every neuron's curve first rises to a coordinate of its own above c0, [neurons].

        Args:
            coordinates: c, [neurons]; NaN gives NaN, and so does what lies at or beyond a plateau.
        """
        if self.kind == SaturationCurve.kind:
            return np.asarray(geometry.dose_for(coordinates, self.parameters["cosine"]))
        plateaus = self.plateaus
        assert plateaus is not None
        found = np.full(coordinates.shape, np.nan)
        reached = coordinates < plateaus
        curves, wanted = self._at(reached), coordinates[reached]
        # t = u/(1 − u) maps all doses to [0, 1): an even scan for the first bracket, then bisection.
        high = np.ones_like(wanted)
        for u in np.linspace(0, 1, 64, endpoint=False)[:0:-1]:
            high = np.where(curves.coordinates(u / (1 - u)) >= wanted, u, high)
        low = high - 1 / 64
        for _ in range(48):
            middle = (low + high) / 2
            above = curves.coordinates(middle / (1 - middle)) >= wanted
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        found[reached] = low / (1 - low)
        return found

    def _at(self, places: NDArray[np.bool_]) -> LayerCurves:
        return LayerCurves(self.kind, {name: values[places] for name, values in self.parameters.items()})

    @property
    def cosines(self) -> Floats:
        """c0 of every neuron, [neurons]."""
        return self.coordinates(0.0)

    @property
    def plateaus(self) -> Floats | None:
        """The plateau of every neuron, [neurons]; None for plain curves."""
        if self.kind == SaturationCurve.kind:
            return None
        found = geometry.control_coordinate(self.parameters["limit_length"], self.parameters["skip_cosine"])
        return np.asarray(found)

    def at(self, place: int) -> Curve:
        """The curve of one of the neurons."""
        return curve_from_json({"kind": self.kind, **{name: v[place] for name, v in self.parameters.items()}})


def curve_from_json(values: Mapping[str, Any]) -> Curve:
    """Read `to_json`.

    Raises:
        ValueError: The kind of curve is unknown.
    """
    for curve in (SaturationCurve, CappedCurve):
        if values["kind"] == curve.kind:
            return curve(**{field.name: float(values[field.name]) for field in fields(curve)})
    raise ValueError(f"unknown kind of curve {values['kind']!r}")
