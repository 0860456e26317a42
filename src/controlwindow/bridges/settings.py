"""Which dose another tool asks for, in the few words that its command line takes: a neuron and c, or a run's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.curves import Curve, curve_from_json
from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.operations import Add, Positions, RowOperations, check_positions
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.models import Model, Neuron
from controlwindow.runs.kinds import kind_of, open_run
from controlwindow.runs.resuming import planned_model

PLACES = ("undosed", "trigger", "middle", "ceiling")
"""Places of a window that stand for a c of their own."""


@dataclass(frozen=True)
class Setting:
    """A dose on a model.

    Attributes:
        neuron: The dosed neuron; None for the undosed model.
        branch: Its branch.
        t: Dose in budget units on that branch, 0 or more.
        c: The control coordinate that the curve promises; None for the undosed model.
        positions: Where the dose is added.
        operations: What acts on a row.
    """

    neuron: str | None = None
    branch: int = 1
    t: float = 0.0
    c: float | None = None
    positions: Positions = "all"
    operations: RowOperations = ()

    def to_json(self) -> dict[str, Any]:
        """What a log keeps of it."""
        return {"neuron": self.neuron, "branch": self.branch, "t": round(self.t, 6), "c": self.c}


UNDOSED = Setting()


def read_setting(
    model: Model,
    *,
    neuron: str | None = None,
    branch: int | str = 1,
    c: float | str | None = None,
    t: float | str | None = None,
    run: str | Path | None = None,
    behavior: str | None = None,
    positions: str | None = None,
) -> Setting:
    """The dose that options name; with neither neuron nor run, the undosed model.

    Args:
        model: The model.
        neuron: A neuron; with a run, which of its windows is meant.
        branch: +1 or −1.
        c: The control coordinate to reach; with a run also `undosed`, `trigger`, `middle` (of trigger and ceiling) or
            `ceiling`, and `middle` where nothing is said.
        t: The dose in budget units in place of c.
        run: Directory of an audit, whose window gives neuron, branch, budget and positions.
        behavior: Whose window, where the run has several.
        positions: `all` or `generated`; by default the behavior's of a run, and `all` without one.

    Raises:
        UsageError: Options are missing or contradict each other, or no dose reaches c.
        NeuronError: The neuron lies outside the model, or has no budget.
        LedgerError: The run is none, or measures another model.
    """
    if run is None and neuron is None:
        if c is None and t is None:
            return UNDOSED
        raise UsageError("a dose was given, and no neuron", "name one as neuron=L3.N7, or an audit as run=runs/mine")
    if c is not None and t is not None:
        raise UsageError(f"both c={c} and t={t} were given", "give one of them")
    side = _branch(branch)
    if run is None:
        assert neuron is not None
        if c is None and t is None:
            raise UsageError(f"no dose of {neuron} was given", "give c=0.4, or t=0.5")
        generic, found = generic_pass(model), model.require(neuron)
        where = "all" if positions is None else positions
        return _setting(model, generic, found, side, generic.curve(model, found, side), c, t, where)
    audit = read_audit(run)
    planned_model(model, audit.plan, Path(run))
    window = choose_window(audit, run, neuron, behavior, None if neuron is None else side)
    generic = generic_pass(model, audit.plan.generic_prompts)
    found, side = Neuron.parse(window["neuron"]), int(window["branch"])
    kept = window.get("curve")
    curve = generic.curve(model, found, side) if kept is None else curve_from_json(kept)
    wanted = place_in(window, "middle" if c is None and t is None else c)
    if wanted == "undosed":
        return UNDOSED
    where = positions or audit.behaviors[window["behavior"]].get("positions", "all")
    return _setting(model, generic, found, side, curve, wanted, t, where)


def read_audit(run: str | Path) -> RunResults:
    """The results of an audit.

    Raises:
        UsageError: The directory holds another kind of run.
        LedgerError: It holds none.
    """
    directory = Path(run)
    kind = kind_of(directory)
    if kind.name != "audit":
        raise UsageError(f"{directory} holds a {kind.name}, and windows are an audit's", "give an audit's directory")
    with open_run(directory) as ledger:
        return read_results(ledger)


def choose_window(
    audit: RunResults, run: str | Path, neuron: str | None, behavior: str | None, branch: int | None
) -> Mapping[str, Any]:
    """The window that is meant: the only one that fits, or the only open one.

    Raises:
        UsageError: None fits, or several do.
    """
    named = None if neuron is None else str(Neuron.parse(neuron))
    fitting = [
        window
        for window in audit.windows
        if named in (None, window["neuron"])
        and behavior in (None, window["behavior"])
        and branch in (None, window["branch"])
    ]
    # A neuron by itself names no behavior, and what fits is told apart by being open.
    chosen: Sequence[Mapping[str, Any]] = [window for window in fitting if window["verdict"] == "open"] or fitting
    if len(chosen) == 1:
        return chosen[0]
    shown = ", ".join(f"{w['neuron']} {w['branch']:+d} ({w['behavior']})" for w in chosen[:6])
    if not chosen:
        raise UsageError(f"no window of {run} fits", f"it tested {', '.join(_tested(audit)) or 'nothing yet'}")
    raise UsageError(f"several windows of {run} fit: {shown}", "name neuron=, branch= and behavior=")


def _tested(audit: RunResults) -> list[str]:
    return sorted({str(window["neuron"]) for window in audit.windows})[:8]


def place_in(window: Mapping[str, Any], given: float | str | None) -> float | str | None:
    """A c, where a place of a window stands for one; `undosed` and None stay.

    Raises:
        UsageError: The window has no such place, or the word is unknown.
    """
    if given is None or given == "undosed" or not isinstance(given, str):
        return given
    if given not in PLACES:
        return _number(given, "c")
    ends = {"trigger": window["trigger"], "ceiling": window["ceiling"]}
    needed = [name for name in ends if given in (name, "middle")]
    missing = next((name for name in needed if ends[name] is None), None)
    if missing is not None:
        raise UsageError(
            f"the window of {window['neuron']} {window['branch']:+d} for {window['behavior']} has no {missing}",
            "give c as a number",
        )
    return float(sum(ends[name] for name in needed) / len(needed))


def _setting(
    model: Model,
    generic: GenericPass,
    neuron: Neuron,
    branch: int,
    curve: Curve,
    c: float | str | None,
    t: float | str | None,
    positions: str,
) -> Setting:
    check_positions(positions)
    if t is not None:
        dose = _number(t, "t")
    else:
        wanted = _number(c, "c")
        try:
            dose = curve.dose(wanted)
        except ValueError as error:
            raise UsageError(f"no dose brings {neuron} to c {wanted:g}: {error}", "choose a smaller c") from error
    if dose < 0:
        raise UsageError(
            f"c {c} lies below the undosed {curve.cosine:.3f} of {neuron} on branch {branch:+d}"
            if t is None
            else f"t is {dose:g} on branch {branch:+d}",
            "a branch is dosed upwards; give the other branch",
        )
    operation = Add(neuron, branch * dose * generic.budget(model, neuron), positions)  # type: ignore[arg-type]
    return Setting(str(neuron), branch, dose, round(curve.coordinate(dose), 6), operation.positions, (operation,))


def _branch(given: int | str) -> int:
    if str(given).strip() in ("1", "+1", "-1", "−1"):
        return int(str(given).replace("−", "-"))
    raise UsageError(f"a branch is +1 or -1, got {given!r}", "write branch=-1")


def _number(given: float | str | None, what: str) -> float:
    try:
        found = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        hint = f"give a number, or with a run one of {', '.join(PLACES)}" if what == "c" else "give a number"
        raise UsageError(f"{what} is {given!r}", hint) from error
    if found != found or abs(found) == float("inf"):
        raise UsageError(f"{what} is {given!r}", "give a finite number")
    return found
