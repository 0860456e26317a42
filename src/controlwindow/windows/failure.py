"""Why a window is closed: the decision table, first match wins (method section 3)."""

from __future__ import annotations

from dataclasses import dataclass

FAILURE_MODES = ("normalization_cap", "too_late", "collapse_before_trigger", "no_effect")
"""Names of the modes, in the order in which they are tested."""

RECOMPUTED = 0.1
"""Propagation below which a dose counts as too late: 90 % of what arrives at the readout is still the write itself."""


@dataclass(frozen=True)
class Reasons:
    """What was measured to say why a window is closed; both None for an open one.

    Attributes:
        propagation: 1 − cos²(Δr_last, v) at the ceiling, or at the end of the range; None also where the dose
            moved nothing.
        injected_trigger: c at which the same direction, injected after the norm, flips the behavior; None when never,
            or where no norm follows the FFN.
    """

    propagation: float | None = None
    injected_trigger: float | None = None


def failure_mode(ceiling_reached: bool, reasons: Reasons, plateau: float | None = None) -> str:
    """Name the reason of a window without a trigger below its ceiling.

    Args:
        ceiling_reached: Whether half of the rollouts collapsed within the range.
        reasons: What was measured.
        plateau: The largest c that a post-FFN norm lets a dose reach; None where no norm follows the FFN, where every
            c below 1 is reached.

    Example:
        >>> failure_mode(True, Reasons(0.8)), failure_mode(True, Reasons(0.02)), failure_mode(False, Reasons(0.8))
        ('collapse_before_trigger', 'too_late', 'no_effect')
        >>> failure_mode(False, Reasons(0.8, injected_trigger=0.6), plateau=0.4)
        'normalization_cap'
    """
    if plateau is not None and reasons.injected_trigger is not None and plateau < reasons.injected_trigger:
        return "normalization_cap"
    if reasons.propagation is not None and reasons.propagation < RECOMPUTED:
        return "too_late"
    return "collapse_before_trigger" if ceiling_reached else "no_effect"
