"""The exact geometry of a dose: the saturation curve, its inverse, and the plateau under a post-FFN norm.

A dose adds a multiple of the write direction v to the residual r. In budget units t = α‖v‖/‖r‖ the control
coordinate c = cos(r + αv, v) depends on the undosed cosine c0 alone (LAW, abstract; method section 1). Every
function takes scalars or arrays that broadcast; cosines are against s·v, so a dose on a branch is t ≥ 0.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RANGE_END = 0.98
"""The control coordinate at which a search stops; what is not reached by then is "not reached"."""


def _output(value: Floats, *inputs: ArrayLike) -> float | Floats:
    return float(value) if all(np.ndim(x) == 0 for x in inputs) else value


@overload
def control_coordinate(dose: float, cosine: float = 0.0) -> float: ...
@overload
def control_coordinate(dose: ArrayLike, cosine: ArrayLike = 0.0) -> float | Floats: ...
def control_coordinate(dose: ArrayLike, cosine: ArrayLike = 0.0) -> float | Floats:
    """Saturation curve c(t) = (c0 + t)/√(1 + 2·c0·t + t²).

    Args:
        dose: t in budget units; negative values are the opposite branch.
        cosine: c0, the undosed cosine between residual and write, in [−1, 1].

    Returns:
        The control coordinate in [−1, 1]. At c0 = −1 and t = 1 the residual vanishes and 0 is returned.

    Raises:
        ValueError: A cosine lies outside [−1, 1].

    Example:
        >>> round(control_coordinate(1.0), 6)
        0.707107
        >>> control_coordinate(0.0, 0.25)
        0.25
    """
    t = np.asarray(dose, dtype=np.float64)
    c0 = np.asarray(cosine, dtype=np.float64)
    if np.any(np.abs(c0) > 1):
        raise ValueError(f"a cosine lies in [-1, 1], got {cosine!r}")
    # (c0 + t)² + (1 − c0²) equals 1 + 2·c0·t + t² without the cancellation near c0 = −1.
    length = np.hypot(c0 + t, np.sqrt((1 - c0) * (1 + c0)))
    along = np.where(np.isinf(t), np.sign(t), c0 + t)
    length = np.where(np.isinf(t), 1.0, length)
    # Where the residual vanishes both are 0 and so is the coordinate; an unknown dose or cosine stays unknown (nan).
    return _output(np.clip(along / np.where(length == 0, 1.0, length), -1.0, 1.0), dose, cosine)


@overload
def dose_for(coordinate: float, cosine: float = 0.0) -> float: ...
@overload
def dose_for(coordinate: ArrayLike, cosine: ArrayLike = 0.0) -> float | Floats: ...
def dose_for(coordinate: ArrayLike, cosine: ArrayLike = 0.0) -> float | Floats:
    """Inverse of the saturation curve: t(c) = −c0 + c·√(1−c0²)/√(1−c²).

    Args:
        coordinate: The control coordinate c to reach, in (−1, 1).
        cosine: The undosed cosine c0, in (−1, 1).

    Returns:
        The dose t in budget units; negative when c < c0.

    Raises:
        ValueError: |c| = 1 (no finite dose reaches it) or |c0| = 1 (no dose moves the cosine).

    Example:
        >>> round(dose_for(0.98), 4)
        4.9247
    """
    c = np.asarray(coordinate, dtype=np.float64)
    c0 = np.asarray(cosine, dtype=np.float64)
    if np.any(np.abs(c) >= 1):
        raise ValueError(f"only |c| < 1 is reached by a finite dose, got {coordinate!r}")
    if np.any(np.abs(c0) >= 1):
        raise ValueError(f"no dose moves a residual parallel to the write, got c0 = {cosine!r}")
    sine = np.sqrt((1 - c0) * (1 + c0))
    return _output(-c0 + c * sine / np.sqrt((1 - c) * (1 + c)), coordinate, cosine)


def budget(residual_norm: float, write_norm: float) -> float:
    """Coherence budget B = ‖r‖/‖v‖: the activation offset that writes as much as the residual holds (LAW).

    Args:
        residual_norm: Median ‖r_L‖ over generic text.
        write_norm: ‖v‖, or ‖m‖ in place of ‖r‖ under a post-FFN norm (the capped budget).

    Raises:
        ValueError: A norm is not positive and finite; a neuron with a zero write has no budget.
    """
    if not (math.isfinite(residual_norm) and residual_norm > 0 and math.isfinite(write_norm) and write_norm > 0):
        raise ValueError(f"norms must be positive and finite, got ‖r‖ = {residual_norm}, ‖v‖ = {write_norm}")
    return residual_norm / write_norm


def plateau(cosine: float, write_limit: float, residual_norm: float) -> float:
    """The control coordinate that a post-FFN norm lets a dose of any size reach (method section 2).

    The norm bounds the write: it tends to w∞ = √d·γ⊙v/‖v‖, so r tends to x + w∞ with x the residual before the
    FFN is added, and the cosine against w∞ is the plain curve at t = ‖w∞‖/‖x‖.

    Args:
        cosine: cos(x, w∞), undosed.
        write_limit: ‖w∞‖.
        residual_norm: ‖x‖, the residual stream without this block's FFN write.
    """
    return control_coordinate(write_limit / residual_norm, cosine)


def participation_ratio(second_moment: ArrayLike) -> float:
    """PR = (Σλ)²/Σλ² with λ the eigenvalues of the uncentred second moment E[r rᵀ], [d, d] (method section 2).

    Both sums are traces, so no eigenvalues are computed.
    """
    m = np.asarray(second_moment, dtype=np.float64)
    square = float(np.sum(m * m))
    return float(np.trace(m)) ** 2 / square if square > 0 else 0.0
