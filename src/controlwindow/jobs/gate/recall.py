"""How many planted controllers of the organisms a screen brings among its top: what a gate asks of its screens.

This is the one place from which a gate reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controlwindow.screens.known import known_recall
from controlwindow.statistics import Interval


class Recall(NamedTuple):
    """What the best of some screens brings.

    Attributes:
        screen: That screen.
        found: Planted controllers among its top.
        planted: All of them.
        interval: Exact interval of the share.
    """

    screen: str
    found: int
    planted: int
    interval: Interval

    @property
    def share(self) -> float:
        """Share that was found."""
        return self.found / self.planted


def screen_recall(screens: Sequence[str], top: int) -> Recall | None:
    """The best of the screens on the organisms, among so many first places.

    What several screens bring together is at least what the best of them brings alone.

    Returns:
        None where none of them was measured, or nothing is taken from them.
    """
    known = [(found, name) for name in screens if top and (found := known_recall(name, top)) is not None]
    if not known:
        return None
    found, name = max(known, key=lambda pair: pair[0].k)
    return Recall(name, found.k, found.n, found.interval)
