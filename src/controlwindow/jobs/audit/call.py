"""The calls that audit: `audit` for whole models, `measure_window` for one neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.errors import UsageError
from controlwindow.jobs.audit.job import Audit
from controlwindow.jobs.audit.kind import AuditKind, AuditResult
from controlwindow.jobs.audit.plan import NamedNeurons, plan_audit
from controlwindow.models import Model, Neuron
from controlwindow.models.model import require_model
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.plan import behavior_source
from controlwindow.runs.progress import Progress
from controlwindow.screens import find_screen
from controlwindow.windows.window import Window

BehaviorLike = str | Path | Behavior


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
        LedgerError: The directory holds another run, or cannot be written.
        OperationError: The hooks failed their self-proof.
    """
    require_model(model)
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
    with run_ledger(directory) as ledger:
        job = Audit(model, [behavior for _, behavior in loaded], plan, ledger, progress)
        result: AuditResult = AuditKind().carry_out(job, directory)
    return result


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
    loaded = [(item, load_behavior(item)) for item in listed]
    names = [behavior.name for _, behavior in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the behavior {name!r} was given twice", "give each behavior once, under its own name")
    return loaded
