"""The call that probes a behavior's circuit from beginning to end, and what goes on with one that was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.circuits.result import ProbeResult
from controlwindow.errors import LedgerError, UsageError
from controlwindow.jobs.probe.job import Probe
from controlwindow.jobs.probe.plan import KIND, ProbePlan, plan_settings
from controlwindow.models import Model
from controlwindow.report.pages.probe.page import write_probe_report
from controlwindow.runs.behavior_run import write_behavior_manifest
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import BehaviorReference, behavior_source, model_head
from controlwindow.runs.progress import Progress
from controlwindow.runs.results import LEDGER_NAME, open_run, round_floats
from controlwindow.runs.resuming import planned_behavior, planned_model


def probe(
    model: Model,
    behavior: str | Path | Behavior,
    out: str | Path | None = None,
    *,
    passes: int | None = None,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    include_neurons: bool = False,
    progress: Progress | None = None,
) -> ProbeResult:
    """Probe a behavior's circuit with perturbed prompts (PP, arXiv 2604.27401; method section 4).

    Neurons and directions are found on the find split, settings of the sweep chosen on select, and everything reported
    is measured on evaluate, beside random neurons of the same layers and circuits of shuffled labels.

    Args:
        model: The model.
        behavior: A name, a path to a TOML file, or a loaded behavior; it needs perturbation pairs.
        out: Run directory for ledger, manifest, report and figures; None keeps the ledger in memory.
        passes: Most sequences passed forward, rollouts apart; fewer prompts, sizes and layers are used to keep to it.
        sizes: Sizes k of the circuit; default 1, 2, 4, … up to twice a circuit's usual size.
        seed: Seed of everything random.
        include_neurons: Name neurons of sensitive behaviors in the report of a model that is no organism.
        progress: Where progress is shown.

    Raises:
        BehaviorError: The behavior is invalid, or has too few pairs in a split.
        ScreenError: Target and control are not told apart, or no neuron has an importance other than 0.
        UsageError: The sizes leave no circuit, or the passes do not suffice.
        LedgerError: The directory holds another run, or cannot be written.

    Example:
        >>> import controlwindow as cw
        >>> found = cw.probe(cw.load_model("organism:switch"), "language", passes=3000)  # doctest: +SKIP
        >>> found.verdict.kind  # doctest: +SKIP
        'routing'
    """
    loaded = behavior if isinstance(behavior, Behavior) else load_behavior(behavior)
    if passes is not None and passes < 1:
        raise UsageError(f"passes must be at least 1, got {passes}")
    plan = ProbePlan(
        **model_head(model),
        behavior=BehaviorReference(name=loaded.name, source=behavior_source(behavior), fingerprint=loaded.fingerprint),
        passes=passes,
        seed=seed,
        settings=plan_settings(model, loaded, passes=passes, sizes=sizes, seed=seed),
        include_neurons=include_neurons,
    ).named()
    directory = None if out is None else Path(out)
    with Ledger() if directory is None else Ledger(directory / LEDGER_NAME, create=True) as ledger:
        ledger.lock()
        return _run(model, loaded, plan, ledger, directory, include_neurons, progress)


def resume_probe(directory: str | Path, *, model: Model | None = None, progress: Progress | None = None) -> ProbeResult:
    """Go on with a probe that was cut off; a finished one is only reported again.

    Args:
        directory: The run directory.
        model: The model, where the run was made of one in hand.
        progress: Where progress is shown.

    Raises:
        LedgerError: No such run, or the model or the behavior is no longer what was planned.
        ModelError: The model was in hand and is not given.
    """
    directory = Path(directory)
    with open_run(directory) as ledger:
        ledger.lock()
        plan = _plan(ledger)
        behavior = planned_behavior(plan.behavior, directory)
        model = planned_model(model, plan, directory, call="probe_api.resume_probe")
        return _run(model, behavior, plan, ledger, directory, plan.include_neurons, progress)


def read_probe(directory: str | Path) -> dict[str, Any]:
    """The results of a finished probe, from its ledger alone.

    Raises:
        LedgerError: There is no such run, or it is not finished.
    """
    with open_run(Path(directory)) as ledger:
        _plan(ledger)
        found = ledger.find("result", KIND)
    if found is None:
        raise LedgerError(f"the probe {directory} is not finished", f"go on with controlwindow resume {directory}")
    document: dict[str, Any] = round_floats(found)
    return document


def is_probe_run(directory: str | Path) -> bool:
    """Whether a run directory holds a probe.

    Raises:
        LedgerError: It holds no ledger.
    """
    with open_run(Path(directory)) as ledger:
        return ledger.find("plan", KIND) is not None


def _run(
    model: Model,
    behavior: Behavior,
    plan: ProbePlan,
    ledger: Ledger,
    directory: Path | None,
    include_neurons: bool,
    progress: Progress | None,
) -> ProbeResult:
    job = Probe(model, behavior, plan, ledger, progress)
    if directory is not None:
        job.commit_plan()
        write_behavior_manifest(ledger, directory, KIND)
    result = job.run()
    if directory is not None:
        write_probe_report(round_floats(result.to_json()), directory, include_neurons=include_neurons)
    return result


def _plan(ledger: Ledger) -> ProbePlan:
    found = ledger.find("plan", KIND)
    if found is None:
        raise LedgerError(f"{ledger.path} holds no probe", "start one with `controlwindow probe --out`")
    return ProbePlan.model_validate(found)
