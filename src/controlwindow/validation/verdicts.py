"""Verdicts on known neurons, whoever gave them: an audit of this package or another method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controlwindow.validation.rates import Rate, rate
from controlwindow.validation.truth import Closed, Controller, Truth


@dataclass(frozen=True)
class Verdict:
    """What a method says of one neuron on one branch.

    Attributes:
        open: Whether a dose on this branch steers the behavior coherently.
        failure_mode: Why not, where the method says.
        trigger: The first c that does, where the method says.
    """

    open: bool
    failure_mode: str | None = None
    trigger: float | None = None


Verdicts = Mapping[tuple[str, int], Verdict]
"""By neuron and branch, of one behavior of one organism."""


@dataclass(frozen=True)
class Judged:
    """A verdict beside what is known.

    Attributes:
        organism: The organism.
        lineage: Its lineage.
        behavior: The behavior.
        neuron: The neuron.
        branch: Sign of the dose.
        role: planted, natural, failure, decoy or census, as in `truth`.
        by: The trained intervention of a planted controller.
        traits: Traits of a planted controller.
        verdict: open, closed, or None where the method is silent.
        right: Whether the verdict is what is known; silence is not.
        trigger: The trigger that the method gives.
        trigger_expected: The card's range, or None.
        trigger_right: Whether the trigger lies in it; None where the card or the method gives none.
        branch_right: For a controller that was opened: whether the other branch stays closed, or opens later only. None
            otherwise, and where both branches are meant to open.
        failure_mode: The mode that the method gives.
        mode_expected: The card's, or None.
        mode_right: Whether the neuron is closed for that reason; None where the card gives none.
        case: What stands for its write column; copies share it, and count once.
    """

    organism: str
    lineage: str
    behavior: str
    neuron: str
    branch: int
    role: str
    by: str
    traits: tuple[str, ...]
    verdict: str | None
    right: bool
    trigger: float | None
    trigger_expected: tuple[float, float] | None
    trigger_right: bool | None
    branch_right: bool | None
    failure_mode: str | None
    mode_expected: str | None
    mode_right: bool | None
    case: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        expected = self.trigger_expected
        return asdict(self) | {
            "traits": list(self.traits),
            "trigger_expected": None if expected is None else list(expected),
        }


def judge(truth: Truth, verdicts: Verdicts, *, census: bool = True) -> list[Judged]:
    """Hold verdicts against everything that is known of a behavior, in the order of the truth.

    Args:
        truth: What is known.
        verdicts: What a method says.
        census: Whether silence on neurons of the census is listed too.
    """
    judged = []
    for controller in truth.controllers:
        given = verdicts.get((controller.neuron, controller.branch))
        if given is not None or census or controller.origin == "planted":
            judged.append(_judge_controller(truth, controller, given, verdicts))
    for closed in truth.closed:
        given = verdicts.get((closed.neuron, closed.branch))
        if given is not None or census or closed.role != "census":
            judged.append(_judge_closed(truth, closed, given))
    return judged


def _judge_controller(truth: Truth, controller: Controller, given: Verdict | None, verdicts: Verdicts) -> Judged:
    opened = given is not None and given.open
    trigger = given.trigger if given is not None else None
    expected = controller.trigger
    in_range = None
    if opened and expected is not None and trigger is not None:
        in_range = expected[0] <= trigger <= expected[1]
    other = verdicts.get((controller.neuron, -controller.branch))
    return Judged(
        organism=truth.organism,
        lineage=truth.lineage,
        behavior=truth.behavior,
        neuron=controller.neuron,
        branch=controller.branch,
        role=controller.origin,
        by=controller.by,
        traits=controller.traits,
        verdict=_word(given),
        right=opened,
        trigger=trigger,
        trigger_expected=expected,
        trigger_right=in_range,
        branch_right=_opens_first(given, other) if opened and not _even(truth, controller) else None,
        failure_mode=given.failure_mode if given is not None else None,
        mode_expected=None,
        mode_right=None,
        case=controller.case or controller.neuron,
    )


def _even(truth: Truth, controller: Controller) -> bool:
    """Whether doses of either sign are meant to open: then their first-order effects cancel."""
    branches = {c.branch for c in truth.planted if c.neuron == controller.neuron}
    return len(branches) == 2 or "zero_gradient" in controller.traits


def _opens_first(mine: Verdict | None, other: Verdict | None) -> bool:
    if other is None or not other.open:
        return True
    # Two open branches without triggers cannot be told apart, so neither is the right one.
    return mine is not None and None not in (mine.trigger, other.trigger) and mine.trigger < other.trigger  # type: ignore[operator]


def _judge_closed(truth: Truth, closed: Closed, given: Verdict | None) -> Judged:
    is_closed = given is not None and not given.open
    mode = given.failure_mode if given is not None else None
    return Judged(
        organism=truth.organism,
        lineage=truth.lineage,
        behavior=truth.behavior,
        neuron=closed.neuron,
        branch=closed.branch,
        role=closed.role,
        by="",
        traits=(),
        verdict=_word(given),
        right=is_closed,
        trigger=given.trigger if given is not None else None,
        trigger_expected=None,
        trigger_right=None,
        branch_right=None,
        failure_mode=mode,
        mode_expected=closed.mode,
        mode_right=None if closed.mode is None else is_closed and mode == closed.mode,
        case=closed.case or closed.neuron,
    )


def _word(given: Verdict | None) -> str | None:
    return None if given is None else "open" if given.open else "closed"


def verdict_rates(judged: Sequence[Judged], seed: int = 0) -> dict[str, Rate]:
    """What the verdicts are worth, rate by rate; of neurons that share a write column the first one counts.

    Returns:
        planted, natural: controllers that were opened; failures, decoys, census: neurons known not to open that were
        said to be closed; branch: opened planted controllers whose other branch does not open first; trigger: opened
        planted controllers with a claimed range whose trigger lies in it; mode: constructed failures closed for the
        right reason; accuracy: verdicts given that are right. Silence counts against every rate but accuracy, trigger
        and census.
    """
    judged = _once(judged)
    given = [j for j in judged if j.verdict is not None]
    groups: dict[str, Iterable[tuple[Judged, bool | None]]] = {
        "planted": ((j, j.right) for j in judged if j.role == "planted"),
        "natural": ((j, j.right) for j in judged if j.role == "natural"),
        "branch": ((j, j.branch_right) for j in judged if j.role == "planted"),
        "trigger": ((j, j.trigger_right) for j in judged if j.role == "planted"),
        "mode": ((j, j.mode_right) for j in judged),
        "failures": ((j, j.right) for j in judged if j.role == "failure"),
        "decoys": ((j, j.right) for j in judged if j.role == "decoy"),
        "census": ((j, j.right) for j in given if j.role == "census"),
        "accuracy": ((j, j.right) for j in given),
    }
    return {
        name: rate([(j.lineage, counts) for j, counts in group if counts is not None], seed)
        for name, group in groups.items()
    }


def trait_rates(judged: Sequence[Judged], seed: int = 0) -> dict[str, Rate]:
    """Opened planted controllers by trait and by the trained intervention; copies that share a trait count once."""
    planted = [j for j in judged if j.role == "planted"]
    names = dict.fromkeys(name for j in planted for name in (*j.traits, f"by {j.by}"))
    return {
        name: rate(
            [(j.lineage, j.right) for j in _once([p for p in planted if name in (*p.traits, f"by {p.by}")])], seed
        )
        for name in sorted(names)
    }


def _once(judged: Iterable[Judged]) -> list[Judged]:
    """The first of every write column, one on which a verdict was given before others."""
    found: dict[tuple[str, str, str, int, str], Judged] = {}
    for j in judged:
        key = (j.organism, j.behavior, j.role, j.branch, j.case)
        if key not in found or (found[key].verdict is None and j.verdict is not None):
            found[key] = j
    return list(found.values())
