"""Arrays as JSON values, for rows that a ledger keeps."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack_array(values: ArrayLike) -> dict[str, Any]:
    """A float array of any shape as its shape and its bytes (float64, little endian) in base64.

    Example:
        >>> unpack_array(pack_array([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """
    array = np.asarray(values, "<f8")
    return {"shape": list(array.shape), "data": pack_bytes(array)}


def unpack_array(packed: Mapping[str, Any]) -> NDArray[np.float64]:
    """Read `pack_array`."""
    return unpack_bytes(packed["data"]).reshape(packed["shape"])


def pack_bytes(values: ArrayLike) -> str:
    """A float array's bytes alone (float64, little endian) in base64, where its shape is known from elsewhere."""
    return base64.b64encode(np.asarray(values, "<f8").tobytes()).decode()


def unpack_bytes(packed: str) -> NDArray[np.float64]:
    """Read `pack_bytes`, flat."""
    return np.frombuffer(base64.b64decode(packed), "<f8")
