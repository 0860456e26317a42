"""The runs that a gate consists of: for each behavior an audit, a circuit and a comparison, each gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.errors import BehaviorError
from controlwindow.jobs.audit.call import audit
from controlwindow.jobs.audit.results import RunResults, open_rate, read_results
from controlwindow.jobs.circuit.call import circuit
from controlwindow.jobs.compare.call import compare_interventions
from controlwindow.jobs.gate.policy import CircuitRules, DirectionRules, Measured, Policy
from controlwindow.models import Model
from controlwindow.report.page import slug
from controlwindow.runs.kinds import open_run
from controlwindow.runs.progress import Progress

PARTS = "parts"
"""Where in a gate's directory its runs lie."""


@dataclass(frozen=True)
class Parts:
    """One behavior of one model, measured.

    Attributes:
        behavior: The behavior's name.
        audited: What the audit left; None where it could not be done.
        circuit: The circuit's document; None where none was asked for or it could not be done.
        direction: The comparison's document, likewise.
        missing: Why a part could not be measured, by its name.
        directories: Run directories of the audits, the first one's windows before those of the next.
    """

    behavior: str
    audited: RunResults | None
    circuit: Mapping[str, Any] | None
    direction: Mapping[str, Any] | None
    missing: Mapping[str, str]
    directories: tuple[Path, ...]

    @property
    def windows(self) -> list[dict[str, Any]]:
        """Windows of every tested neuron on both branches."""
        return [] if self.audited is None else self.audited.windows

    @property
    def tested(self) -> list[str]:
        """Names of the tested neurons."""
        return list(dict.fromkeys(window["neuron"] for window in self.windows))

    @property
    def open_random(self) -> dict[str, Any]:
        """Random neurons that open on some branch, of how many, with the exact 95 % interval of the rate."""
        return open_rate(self.windows, self.behavior)


@dataclass(frozen=True)
class Place:
    """Where and how a gate's runs are made.

    Attributes:
        directory: The gate's directory.
        given: What each behavior was loaded from, by name.
        include_neurons: Whether pages of the runs name neurons of sensitive behaviors.
        progress: Where progress is shown.
    """

    directory: Path
    given: Mapping[str, str | Path | Behavior]
    include_neurons: bool
    progress: Progress

    def of(self, part: str, behavior: str) -> Path:
        """The directory of one run."""
        return self.directory / PARTS / f"{part}-{slug(behavior)}"


def measure_parts(model: Model, behavior: str, policy: Policy, place: Place, named: Sequence[str] = ()) -> Parts:
    """Measure all that a policy asks for of one behavior.

    Args:
        model: The model.
        behavior: The behavior's name.
        policy: The policy.
        place: Where the runs lie.
        named: Neurons to test beside the others, such as those of a baseline.
    """
    missing: dict[str, str] = {}
    audited = _or_missing("audit", missing, lambda: audit_part(model, behavior, policy.audit, place, "audit", named))
    # What cannot be audited for want of eligible prompts can be steered no better.
    further = audited is not None
    return Parts(
        behavior=behavior,
        audited=audited,
        circuit=_or_missing("circuit", missing, lambda: _circuit(model, behavior, policy, place)) if further else None,
        direction=_or_missing("direction", missing, lambda: _direction(model, behavior, policy, place))
        if further
        else None,
        missing=missing,
        directories=(place.of("audit", behavior),),
    )


def audit_part(
    model: Model,
    behavior: str,
    asked: Measured,
    place: Place,
    part: str,
    named: Sequence[str] = (),
    *,
    alone: bool = False,
) -> RunResults:
    """One audit, without what an organism's card would say.

    Args:
        model: The model.
        behavior: The behavior's name.
        asked: What the policy asks for.
        place: Where the run lies.
        part: What the run is called.
        named: Neurons to test beside the others.
        alone: Test those named and no others.

    Raises:
        BehaviorError: Too few prompts are eligible.
    """
    directory = place.of(part, behavior)
    audit(
        model,
        place.given[behavior],
        directory,
        neurons=list(named),
        screen=asked.screens[0],
        more_screens=asked.screens[1:],
        top=0 if alone else asked.top,
        random=0 if alone else asked.random,
        planted=False,
        seed=asked.seed,
        include_neurons=place.include_neurons,
        progress=place.progress,
    )
    with open_run(directory) as ledger:
        return read_results(ledger)


def _circuit(model: Model, behavior: str, policy: Policy, place: Place) -> Mapping[str, Any] | None:
    asked: CircuitRules | None = policy.circuit
    if asked is None:
        return None
    return circuit(
        model,
        place.given[behavior],
        place.of("circuit", behavior),
        top=asked.top,
        screen=asked.screen,
        factors=asked.factors,
        base=False,
        seeds=asked.seeds,
        seed=policy.audit.seed,
        include_neurons=place.include_neurons,
        progress=place.progress,
    ).document


def _direction(model: Model, behavior: str, policy: Policy, place: Place) -> Mapping[str, Any] | None:
    asked: DirectionRules | None = policy.direction
    if asked is None:
        return None
    return compare_interventions(
        model,
        place.given[behavior],
        (),
        place.of("direction", behavior),
        methods=asked.methods,
        levels=(asked.highest_rate,),
        controls=False,
        seed=policy.audit.seed,
        include_neurons=place.include_neurons,
        progress=place.progress,
    ).to_json()


def _or_missing(part: str, missing: dict[str, str], measure: Callable[[], Any]) -> Any:
    """What a part gives, or why the behavior does not allow it, which a gate cannot judge and does not pass."""
    try:
        return measure()
    except BehaviorError as error:
        missing[part] = error.message
        return None
