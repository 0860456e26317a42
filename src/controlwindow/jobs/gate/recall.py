"""How many planted controllers of the organisms a screen brings among its top: what a gate asks of its screens.

This is the one place from which a gate reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controlwindow.statistics import Interval, wilson_interval

_PLANTED = 26
_FOUND: dict[str, dict[int, int]] = {
    "causal": {1: 25, 4: 26, 16: 26},
    "gradient": {1: 4, 4: 12, 16: 19},
    "one": {1: 4, 4: 4, 16: 4},
    "gradient_x_activation": {1: 4, 4: 4, 16: 4},
    "attribution_patching": {1: 3, 4: 4, 16: 5},
    "contrastive": {1: 1, 4: 1, 16: 2},
    "window": {1: 1, 4: 1, 16: 2},
    "perturbation": {1: 0, 4: 0, 16: 1},
    "readout": {1: 0, 4: 2, 16: 4},
    "random": {1: 0, 4: 0, 16: 2},
}
"""Of 26 planted controllers of 13 organisms, those among a screen's first places (docs/screens.md)."""


class Recall(NamedTuple):
    """What the best of some screens brings.

    Attributes:
        screen: That screen.
        found: Planted controllers among its top.
        planted: All of them.
        interval: Wilson interval of the share.
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
    """The best of the screens on the organisms, at the largest measured number of places that is at most `top`.

    What several screens bring together is at least what the best of them brings alone.

    Returns:
        None where none of them was measured, or nothing is taken from them.
    """
    known = [
        (_FOUND[name][places], name)
        for name in screens
        if name in _FOUND and (places := max((k for k in _FOUND[name] if k <= top), default=0))
    ]
    if not known:
        return None
    found, name = max(known, key=lambda pair: pair[0])
    return Recall(name, found, _PLANTED, wilson_interval(found, _PLANTED))
