"""The calls that do a whole job: `audit`, `resume`, `measure_window`.

One-off calls go through the same scheduler, with a ledger in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.errors import UsageError
from controlwindow.jobs.audit.job import Audit
from controlwindow.models import Model, Neuron
from controlwindow.report import write_report
from controlwindow.report.pages.audit.assemble import report_document
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.manifest import write_json
from controlwindow.runs.plan import AuditPlan, NamedNeurons, behavior_source, plan_audit
from controlwindow.runs.progress import Progress
from controlwindow.runs.results import LEDGER_NAME, RunResults, open_run, read_results
from controlwindow.runs.resuming import planned_behavior, planned_model
from controlwindow.screens import find_screen
from controlwindow.secrecy import hides_neurons, shareable_manifest
from controlwindow.windows.window import Window

BehaviorLike = str | Path | Behavior


@dataclass(frozen=True)
class AuditResult:
    """What an audit gives back.

    Attributes:
        windows: Every tested neuron on both branches.
        results: The same as plain values, with plan and coverage.
        directory: The run directory; None when the ledger was kept in memory.
    """

    windows: list[Window]
    results: RunResults
    directory: Path | None


def audit(
    model: Model,
    behaviors: Sequence[BehaviorLike] | BehaviorLike,
    out: str | Path | None = None,
    *,
    neurons: NamedNeurons = (),
    screen: str = "contrastive",
    top: int = 4,
    planted: bool = True,
    seed: int = 0,
    generic_prompts: Sequence[str] | None = None,
    include_completions: bool = False,
    include_neurons: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Audit a model: candidates, predicted ceilings, windows with verdicts, report.

    Candidates of a behavior are the organism's planted neurons, those named, the screen's top, and as many random
    ones. A run directory that already holds the same audit is gone on with.

    Args:
        model: The model.
        behaviors: Names, paths to TOML files, or loaded behaviors.
        out: Run directory for ledger, manifest, report and figures; None keeps the ledger in memory.
        neurons: Neurons to test beside the others: for every behavior, or a mapping from a behavior's name to those
            for it alone.
        screen: Screen whose top is tested.
        top: How many of the screen's top, and how many at random.
        planted: Whether an organism's planted neurons are tested.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts for the generic pass; default the model's.
        include_completions: Show completions of sensitive behaviors in the report.
        include_neurons: Name neurons and doses of sensitive behaviors in the report of a model that is no organism.
        progress: Where progress is shown.

    Returns:
        The windows and the results.

    Raises:
        BehaviorError: A behavior is invalid, or too few of its prompts are eligible.
        NeuronError: A named neuron is malformed or lies outside the model.
        LedgerError: The directory holds another audit, or cannot be written.
        OperationError: The hooks failed their self-proof.
    """
    loaded = _load_behaviors(behaviors)
    find_screen(screen)
    if top < 0:
        raise UsageError(f"top must be 0 or more, got {top}")
    plan = plan_audit(
        model,
        [(behavior_source(given), behavior) for given, behavior in loaded],
        neurons=neurons,
        screen=screen,
        top=top,
        planted=planted,
        seed=seed,
        generic_prompts=generic_prompts,
        include_completions=include_completions,
        include_neurons=include_neurons,
    )
    directory = None if out is None else Path(out)
    with Ledger() if directory is None else Ledger(directory / LEDGER_NAME, create=True) as ledger:
        ledger.lock()
        return _run(model, [b for _, b in loaded], plan, ledger, directory, progress)


def resume(directory: str | Path, *, model: Model | None = None, progress: Progress | None = None) -> AuditResult:
    """Go on with an audit that was cut off; a finished one is only reported again.

    Args:
        directory: The run directory.
        model: The model, where the audit was made of one in hand.
        progress: Where progress is shown.

    Raises:
        LedgerError: No such run, a damaged one, or the model or a behavior is no longer what was planned.
        ModelError: The model was in hand and is not given.
    """
    directory = Path(directory)
    with open_run(directory) as ledger:
        ledger.lock()
        plan = read_results(ledger).plan
        model = planned_model(model, plan, directory, call="resume")
        behaviors = [planned_behavior(reference, directory) for reference in plan.behaviors]
        return _run(model, behaviors, plan, ledger, directory, progress)


def _run(
    model: Model,
    behaviors: Sequence[Behavior],
    plan: AuditPlan,
    ledger: Ledger,
    directory: Path | None,
    progress: Progress | None,
) -> AuditResult:
    job = Audit(model, behaviors, plan, ledger, progress)
    if directory is not None:
        job.commit_plan()
        write_manifest(ledger, directory)
    windows = job.run()
    if directory is not None:
        # What the report shows follows this call: the plan of a run gone on with may have asked for more.
        write_run_report(
            ledger,
            directory,
            include_completions=plan.include_completions,
            include_neurons=plan.include_neurons,
        )
    return AuditResult(windows, read_results(ledger), directory)


def write_run_report(
    ledger: Ledger, directory: Path, *, include_completions: bool | None = None, include_neurons: bool | None = None
) -> Path:
    """Draw the report of a run again, from its ledger; None keeps what the plan says."""
    plan = read_results(ledger).plan
    return write_report(
        report_document(ledger),
        directory,
        include_completions=plan.include_completions if include_completions is None else include_completions,
        include_neurons=plan.include_neurons if include_neurons is None else include_neurons,
    )


def write_manifest(ledger: Ledger, directory: Path) -> None:
    """Write `manifest.json`: model, fingerprint, versions, seed and configuration."""
    plan, model = ledger.find("plan", "audit") or {}, ledger.find("model", "model") or {}
    manifest = {
        "model": model,
        "fingerprint": model["fingerprint"],
        "seed": plan["seed"],
        "configuration": plan,
        "versions": ledger.find("versions", "versions"),
        "behaviors": {
            name: {"fingerprint": record["fingerprint"], "splits": record["split_fingerprints"]}
            for name, record in ledger.find_all("behavior").items()
        },
    }
    behaviors = ledger.find_all("behavior").values()
    hide = hides_neurons(
        sensitive=any(record["sensitive"] for record in behaviors),
        organism=model["organism"],
        include_neurons=plan["include_neurons"],
    )
    write_json(shareable_manifest(manifest, hide=hide), directory / "manifest.json")


def measure_window(
    model: Model,
    neuron: Neuron | str,
    behavior: BehaviorLike,
    *,
    branch: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Window:
    """Measure one neuron's control window.

    Args:
        model: The model.
        neuron: The neuron, or its name.
        behavior: A name, a path to a TOML file, or a loaded behavior.
        branch: +1 or −1 to ask for that branch; None for the one that is open, or has the greater height. Both are
            measured.
        seed: Seed of bootstrap, probe and sampling.
        progress: Where progress is shown.

    Returns:
        The window; `other_branch` of it is the other one.

    Raises:
        NeuronError: The neuron is malformed or lies outside the model.
        BehaviorError: The behavior is invalid, or too few of its prompts are eligible.

    Example:
        >>> import controlwindow as cw
        >>> window = cw.measure_window(cw.load_model("organism:switch"), "L3.N7", "language")  # doctest: +SKIP
        >>> window.verdict  # doctest: +SKIP
        'closed'
    """
    if branch not in (None, 1, -1):
        raise UsageError(f"a branch is +1 or -1, got {branch!r}")
    found = audit(model, behavior, neurons=[neuron], top=0, planted=False, seed=seed, progress=progress).windows
    ordered = sorted(found, key=lambda w: (not w.open, -w.height, -w.branch))
    if branch is not None:
        ordered.sort(key=lambda w: w.branch != branch)
    return replace(ordered[0], other_branch=ordered[1])


def _load_behaviors(given: Sequence[BehaviorLike] | BehaviorLike) -> list[tuple[BehaviorLike, Behavior]]:
    listed = [given] if isinstance(given, str | Path | Behavior) else list(given)
    if not listed:
        raise UsageError("no behavior was given", "name one, as in --behavior refusal")
    loaded = [(item, _load_one(item)) for item in listed]
    names = [behavior.name for _, behavior in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the behavior {name!r} was given twice", "give each behavior once, under its own name")
    return loaded


def _load_one(behavior: BehaviorLike) -> Behavior:
    return behavior if isinstance(behavior, Behavior) else load_behavior(behavior)
