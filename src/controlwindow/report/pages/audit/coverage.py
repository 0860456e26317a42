"""How much of a model an audit tested, and what that does not show."""

from __future__ import annotations

from typing import Annotated

from controlwindow.report.marks import Count, Mark, Part, Prose, Share, ShareInterval


class OpenRate(Part):
    """k of n random neurons opened; the interval bounds the share of open neurons. No behavior means all together."""

    k: Count
    n: Count
    interval: ShareInterval
    behavior: str | None = None


class ScreenRecall(Part):
    """Where a screen ranked a planted neuron; rank None means outside its table."""

    behavior: str
    screen: str
    planted: str
    rank: Count | None
    of: Count


class KnownFound(Part):
    """k of n known controllers, with the exact 95 % interval of the share."""

    k: Count
    n: Count
    interval: ShareInterval


class ScreenKnown(Part):
    """What a screen brings of the organisms' controllers among its first `top` places; None where nobody measured."""

    screen: str
    top: Count
    found: KnownFound | None


class PassedOver(Part):
    """A neuron of the screen's top that was not tested: 1 − cos²(Δr_last, v) of a dose is next to nothing."""

    behavior: str
    neuron: str
    propagation: Share


class Unaided(Part):
    """The first neurons that the screen brings of itself, and how many of them open."""

    behavior: str
    neurons: tuple[str, ...]
    open: Count


class Coverage(Part):
    """How much of the model was tested and what that does not show.

    Which neurons a seed draws at random, anybody can draw again: how many of them open goes with their names.
    """

    neurons_tested: Count
    neurons_total: Count
    statement: Prose = (
        "That no other tested neuron is open does not mean that none exists: most neurons were not tested."
    )
    open_random: Annotated[tuple[OpenRate, ...], Mark.EXACT] = ()
    screen_recall: Annotated[tuple[ScreenRecall, ...], Mark.EXACT] = ()
    screen_known: Annotated[ScreenKnown | None, Mark.EXACT] = None
    passed_over: Annotated[tuple[PassedOver, ...], Mark.EXACT] = ()
    unaided: Annotated[tuple[Unaided, ...], Mark.EXACT] = ()


def known_sentence(known: ScreenKnown) -> str:
    """What share of the controllers that are known the screen brings, or that nobody knows."""
    if known.found is None:
        return f"what share of controllers the screen {known.screen} brings is unknown"
    k, n, (low, high) = known.found.k, known.found.n, known.found.interval
    bounds = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return (
        f"the top {known.top} of the screen {known.screen} brings {k} of {n} known controllers of the organisms, "
        f"{100 * k / n:.0f} %{bounds}"
    )
