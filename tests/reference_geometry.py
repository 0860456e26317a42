"""Geometry written out literally, against which the closed forms of the package are held."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def capped_residual(skip: ArrayLike, ffn: ArrayLike, write: ArrayLike, gain: ArrayLike, alpha: float) -> Floats:
    """Residual after a dose under a post-FFN RMS norm: x + γ⊙√d·(m + αv)/‖m + αv‖ (method section 2).

    Args:
        skip: x, the residual before the FFN is added, [d_model].
        ffn: m, the FFN output before its norm, [d_model].
        write: v, the neuron's column of the output projection, [d_model].
        gain: γ, the norm's weight (Gemma stores γ − 1), [d_model].
        alpha: The raw activation offset α.

    Returns:
        The dosed residual, [d_model].
    """
    x, m, v, g = (np.asarray(a, dtype=np.float64) for a in (skip, ffn, write, gain))
    dosed = m + alpha * v
    norm = float(np.linalg.norm(dosed))
    if norm == 0:
        raise ValueError("the dosed FFN output vanishes; its norm is undefined")
    return np.asarray(x + g * math.sqrt(x.size) * dosed / norm)


def cosine_between(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine between two vectors, [d] each; 0 when one vanishes."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip(x @ y / length, -1.0, 1.0)) if length > 0 else 0.0
