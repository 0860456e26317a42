"""Rotary positions whose frequencies depend on how long a batch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTH_DEPENDENT = ("longrope", "dynamic")
"""Kinds of rotary scaling, as Transformers names them, that take other frequencies beyond an original length."""


def steady_lengths(config: Any) -> list[int]:
    """Lengths up to which frequencies stay as they are, one for each table of frequencies that changes at all.

    Args:
        config: The configuration of the text model.

    Example:
        >>> from types import SimpleNamespace
        >>> table = {"rope_type": "longrope", "original_max_position_embeddings": 32}
        >>> steady_lengths(SimpleNamespace(rope_parameters=table))
        [32]
        >>> steady_lengths(SimpleNamespace(rope_parameters={**table, "rope_type": "llama3"}))
        []
    """
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(given, Mapping):
        return []
    # Models with several kinds of layers have a table for each.
    tables = [value for value in given.values() if isinstance(value, Mapping)] or [given]
    found = []
    for table in tables:
        if table.get("rope_type", table.get("type")) in LENGTH_DEPENDENT:
            original = table.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None)
            original = original or getattr(config, "max_position_embeddings", None)
            found += [] if original is None else [int(original)]
    return found
