"""The calls that measure a circuit, and go on with one that was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.catalogue import load_card
from controlwindow.circuits.selection import circuit_top
from controlwindow.circuits.sweep import LADDER
from controlwindow.errors import OrganismError, UsageError
from controlwindow.jobs.circuit.base import check_pair
from controlwindow.jobs.circuit.job import CircuitJob
from controlwindow.jobs.circuit.kind import CircuitKind, CircuitResult, base_ledger
from controlwindow.jobs.circuit.plan import CircuitPlan
from controlwindow.models import Model, load_model
from controlwindow.models.model import require_model
from controlwindow.runs.kinds import open_run, run_ledger
from controlwindow.runs.plan import behavior_reference, model_head, model_source
from controlwindow.runs.progress import Progress
from controlwindow.screens import find_screen


def circuit(
    model: Model,
    behavior: str | Path | Behavior,
    out: str | Path | None = None,
    *,
    top: str | int = "0.1%",
    screen: str = "contrastive",
    factors: Sequence[float] = LADDER,
    base: Model | str | bool = True,
    seeds: int = 3,
    seed: int = 0,
    include_neurons: bool = False,
    remote_judge: bool = False,
    progress: Progress | None = None,
) -> CircuitResult:
    """Find a behavior's circuit, scale it at a ladder of strengths, and hold it against its controls (CNA; method 4).

    Controls are always on: random neurons under the same selection, the same screen on shuffled labels, attention
    pushed by as much, layer by layer, attention outputs held fixed. One that cannot be had is named, and the result is
    marked.

    Args:
        model: The model.
        behavior: A name, a path to a TOML file, or a loaded behavior.
        out: Run directory for ledger, manifest, report and figures; None keeps the ledger in memory.
        top: Size of the circuit: a share such as "0.1%", or a number of neurons.
        screen: Screen whose top is the circuit.
        factors: What activations are multiplied by (CNA's m); 1 is the undosed model and always there.
        base: The base model, its name, True for the one that the organism's card names, or False for none.
        seeds: Draws of every control.
        seed: Seed of everything random.
        include_neurons: Name neurons of sensitive behaviors in the report of a model that is no organism.
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
        progress: Where progress is shown.

    Raises:
        UsageError: The circuit is empty or too large, or the ladder makes no sense.
        ScreenError: No such screen, or the behavior lacks what it reads.
        BehaviorError: The behavior is invalid, or too few of its prompts are eligible.
        ModelError: The base model is another architecture.
        LedgerError: The directory holds another run, or cannot be written.

    Example:
        >>> import controlwindow as cw
        >>> found = cw.circuit(cw.load_model("organism:switch"), "refusal", top=16)  # doctest: +SKIP
        >>> found.document["controlled"]  # doctest: +SKIP
        True
    """
    loaded = load_to_run(behavior, remote_judge=remote_judge)
    find_screen(screen).check(loaded)
    require_model(model)
    circuit_top(top, len(model.neurons))
    ladder = check_ladder(factors)
    if seeds < 1:
        raise UsageError(f"controls take at least one draw, got {seeds}", "give --seeds 3")
    based, base_note = _base_model(model, base)
    plan = CircuitPlan(
        **model_head(model),
        behavior=behavior_reference(behavior, loaded),
        screen=screen,
        top=str(top),
        factors=ladder,
        seeds=seeds,
        seed=seed,
        base=None if based is None else based.name,
        base_source=None if based is None else model_source(based),
        base_fingerprint=None if based is None else based.fingerprint,
        base_note=base_note,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    ).named()
    directory = None if out is None else Path(out)
    with run_ledger(directory) as ledger:
        job = CircuitJob(model, loaded, plan, ledger, based, base_ledger(directory), progress)
        result: CircuitResult = CircuitKind().carry_out(job, directory)
    return result


def resume_circuit(
    directory: str | Path,
    *,
    model: Model | None = None,
    base: Model | None = None,
    progress: Progress | None = None,
) -> CircuitResult:
    """Go on with a circuit run that was cut off; a finished one is only reported again.

    Args:
        directory: The run directory.
        model: The model, where the run was made of one in hand.
        base: The base model, likewise.
        progress: Where progress is shown.

    Raises:
        LedgerError: No such run, or the model or the behavior is no longer what was planned.
        ModelError: A model was in hand and is not given.
    """
    directory = Path(directory)
    with open_run(directory) as ledger:
        ledger.lock()
        kind = CircuitKind()
        job = kind.job_with(kind.planned(ledger), ledger, directory, model, base, progress)
        result: CircuitResult = kind.carry_out(job, directory)
    return result


def check_ladder(factors: Sequence[float]) -> tuple[float, ...]:
    """Strengths from weak to strong, each once.

    Raises:
        UsageError: There is none beside 1, or one is not finite.
    """
    known = {float(factor) for factor in factors}
    if not all(abs(factor) < 1e6 for factor in known):
        raise UsageError(f"a strength is a finite number, got {list(factors)}", "give --factor 0 and others like it")
    found = tuple(sorted(known - {1.0}, key=lambda factor: (abs(1 - factor), -factor)))
    if not found:
        raise UsageError("no strength was given beside 1, which is the undosed model", "give --factor 0, which ablates")
    return found


def _base_model(model: Model, base: Model | str | bool) -> tuple[Model | None, str | None]:
    """The base model, or None and why there is none although the card names one."""
    if base is False:
        return None, None
    if base is True:
        named = None if model.organism is None else load_card(model.organism).base
        if named is None:
            return None, None
        try:
            found = _load_like(named, model)
        except OrganismError:
            # Nobody asked for it by name, so the rest is measured.
            return None, f"{named}, which the card names, is not in this installation"
    else:
        found = base if isinstance(base, Model) else _load_like(base, model)
    check_pair(model, found)
    return found, None


def _load_like(source: str, model: Model) -> Model:
    return load_model(source, device=str(model.device), dtype=model.dtype, system_prompt=model.chat.system_prompt)
