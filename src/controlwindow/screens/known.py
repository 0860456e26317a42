"""What share of the organisms' planted controllers each screen brings, as it was measured and ships in `known.json`.

`python -m benchmarks.screens` writes the file; it names what it was measured on. A controller is a write column: copies
share it, and count where the first of them is.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from controlwindow.statistics import Interval, exact_interval


class KnownRecall(NamedTuple):
    """Controllers among a screen's first places.

    Attributes:
        k: How many are there.
        n: How many are known.
        interval: Exact 95 % interval of their share.
    """

    k: int
    n: int
    interval: Interval


def known_recall(screen: str, top: int) -> KnownRecall | None:
    """What a screen brings among its first `top` places; None for one that was not measured.

    Example:
        >>> found = known_recall("causal", 16)
        >>> found.n
        26
        >>> known_recall("my_own", 16) is None
        True
    """
    places = _shipped()["places"].get(screen)
    if places is None:
        return None
    k = sum(place is not None and place <= top for place in places)
    return KnownRecall(k, len(places), exact_interval(k, len(places)))


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(resources.files(__package__).joinpath("known.json").read_text("utf-8"))
    return found
