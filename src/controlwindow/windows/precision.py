"""Whether a verdict that was reached in half precision holds in float32 (ours).

Half precision rounds a logit to two or three digits, so near a tie another token wins and a rollout takes another way.
That moves single prompts: it matters where a threshold hangs on two of them, or the verdict is not decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controlwindow.cells import Rows
from controlwindow.windows.search import COLLAPSE_LEVEL, WindowSearch
from controlwindow.windows.thresholds import first_bracket

NEAR = 2
"""Prompts by which a share may lie from its level and still be called near."""


@dataclass(frozen=True)
class CheckedDose:
    """One dose in both precisions; shares are of all eligible prompts, at the last horizon.

    Attributes:
        t: Dose in budget units.
        c: Control coordinate.
        flips: Share of flips in the model's own precision.
        flips_float32: The same in float32.
        collapsed: Share collapsed in the model's own precision.
        collapsed_float32: The same in float32.
    """

    t: float
    c: float
    flips: float
    flips_float32: float
    collapsed: float
    collapsed_float32: float


@dataclass(frozen=True)
class Float32Check:
    """What a check in float32 found.

    Attributes:
        doses: The doses measured again.
        verdict: The verdict in the model's own precision.
        verdict_float32: The verdict with these doses in float32, which counts where the two differ.
        holds: Whether the two verdicts are the same.
    """

    doses: tuple[CheckedDose, ...]
    verdict: str
    verdict_float32: str
    holds: bool

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Float32Check:
        """Read what `dataclasses.asdict` made, also after a round through JSON."""
        return cls(**{**values, "doses": tuple(CheckedDose(**dose) for dose in values["doses"])})


def doses_to_check(search: WindowSearch, decided: bool) -> tuple[float, ...]:
    """Doses that have to be measured again in float32: none where nothing is near a level and the verdict is decided.

    Args:
        search: A finished search.
        decided: Whether the bootstrap decides its verdict.

    Returns:
        Ends of the brackets of trigger and ceiling; where nothing reaches a level, the dose that comes closest, if it
        is near or the verdict is not decided.
    """
    total = len(search.task.prompts)
    brackets: list[int] = []
    closest: list[int] = []
    near = not decided
    for events, level in ((search.flips, search.task.level), (search.collapses, COLLAPSE_LEVEL)):
        counts = events.sum(axis=1)
        upper = first_bracket(events.mean(axis=1), level)
        # Every eligible prompt is undosed in the source state, so a crossing has a dose below it.
        ends = [int(counts.argmax())] if upper is None else [upper - 1, upper]
        found = any(abs(int(counts[end]) - level * total) <= NEAR for end in ends)
        near = near or found
        if upper is not None:
            brackets += ends
        elif found or not decided:
            closest += ends
    doses = search.doses
    return tuple(sorted({doses[end] for end in [*brackets, *closest]} - {0.0})) if near else ()


def with_float32(search: WindowSearch, rows: Mapping[float, Rows]) -> WindowSearch:
    """The search with some doses' rows, of all prompts, as float32 gave them."""
    again = {t: dict(zip(search.task.prompts, found, strict=True)) for t, found in rows.items()}
    return replace(search, measured={**search.measured, **again})


def compare(
    search: WindowSearch, exact: WindowSearch, doses: Sequence[float], opened: bool, opens: bool
) -> Float32Check:
    """What the check of these doses found.

    Args:
        search: The search in the model's own precision.
        exact: The same with these doses in float32.
        doses: The doses measured again.
        opened: Whether the window is open in the model's own precision.
        opens: Whether it is with these doses in float32.
    """
    place = {t: index for index, t in enumerate(search.doses)}
    shares = [[s.flips.mean(axis=1), s.collapses.mean(axis=1)] for s in (search, exact)]
    checked = [
        CheckedDose(
            t=t,
            c=float(search.candidate.coordinate(t)),
            flips=float(shares[0][0][place[t]]),
            flips_float32=float(shares[1][0][place[t]]),
            collapsed=float(shares[0][1][place[t]]),
            collapsed_float32=float(shares[1][1][place[t]]),
        )
        for t in doses
    ]
    names = {True: "open", False: "closed"}
    return Float32Check(tuple(checked), names[opened], names[opens], opened == opens)
