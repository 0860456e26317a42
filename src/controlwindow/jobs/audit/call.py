"""The calls that audit: `audit` for whole models, `measure_window` for one neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.errors import UsageError
from controlwindow.instruments.speed import time_sample
from controlwindow.jobs.audit.estimate import Estimate, estimate_audit, fit_to_budget
from controlwindow.jobs.audit.job import Audit
from controlwindow.jobs.audit.kind import AuditKind, AuditResult
from controlwindow.jobs.audit.plan import AuditPlan, NamedNeurons, plan_audit
from controlwindow.models import Model, Neuron
from controlwindow.models.model import require_model
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.plan import behavior_source
from controlwindow.runs.progress import Progress
from controlwindow.screens import DEFAULT_SCREEN, find_screen
from controlwindow.windows.window import Window

BehaviorLike = str | Path | Behavior


def audit(
    model: Model,
    behaviors: Sequence[BehaviorLike] | BehaviorLike,
    out: str | Path | None = None,
    *,
    neurons: NamedNeurons = (),
    screen: str = DEFAULT_SCREEN,
    more_screens: Sequence[str] = (),
    top: int = 4,
    random: int | None = None,
    planted: bool = True,
    probe: bool = True,
    prompts: int | None = None,
    budget: float | None = None,
    keep_late: bool = False,
    seed: int = 0,
    generic_prompts: Sequence[str] | None = None,
    include_completions: bool = False,
    include_neurons: bool = False,
    remote_judge: bool = False,
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
        more_screens: Further screens whose tops are tested beside it.
        top: How many of each screen's top.
        random: How many at random; None for as many as of one screen.
        planted: Whether an organism's planted neurons are tested.
        probe: Whether ceilings are predicted from teacher-forced passes as well (tiers ½ and 1); off, from generic
            text and weights alone, which saves minutes on a large model.
        prompts: Most eligible prompts that a behavior is measured on; None for all.
        budget: Seconds that the audit may take by estimate. What does not fit is left out: random and screened neurons
            first, then prompts; the report says it.
        keep_late: Whether the screen's top is tested also where nothing later could recompute what it writes, so that
            its windows are foreseen to be closed as too late; they are passed over otherwise, and named.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts for the generic pass; default the model's.
        include_completions: Show completions of sensitive behaviors in the report.
        include_neurons: Name neurons and doses of sensitive behaviors in the report of a model that is no organism.
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
        progress: Where progress is shown.

    Returns:
        The windows and the results.

    Raises:
        BehaviorError: A behavior is invalid, or too few of its prompts are eligible.
        NeuronError: A named neuron is malformed or lies outside the model.
        LedgerError: The directory holds another run, or cannot be written.
        OperationError: The hooks failed their self-proof.
        UsageError: Nothing worth measuring fits into the budget.
    """
    require_model(model)
    planned = audit_plan(
        model,
        behaviors,
        neurons=neurons,
        screen=screen,
        more_screens=more_screens,
        top=top,
        random=random,
        planted=planted,
        probe=probe,
        prompts=prompts,
        budget=budget,
        keep_late=keep_late,
        seed=seed,
        generic_prompts=generic_prompts,
        include_completions=include_completions,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    )
    return carry_out(model, planned, out, progress)


@dataclass(frozen=True)
class PlannedAudit:
    """An audit that could begin.

    Attributes:
        plan: The plan.
        behaviors: Its behaviors.
        estimate: How long it will take; None where nobody asked.
    """

    plan: AuditPlan
    behaviors: tuple[Behavior, ...]
    estimate: Estimate | None


def audit_plan(
    model: Model,
    behaviors: Sequence[BehaviorLike] | BehaviorLike,
    *,
    budget: float | None = None,
    estimate: bool = False,
    remote_judge: bool = False,
    **options: Any,
) -> PlannedAudit:
    """The plan of `audit` with the same arguments, and how long it will take.

    Args:
        model: The model.
        behaviors: As for `audit`.
        budget: As for `audit`; a sample of the model's passes is timed.
        estimate: Whether to estimate also where there is no budget.
        remote_judge: As for `audit`.
        options: Everything else that `plan_audit` takes.

    Raises:
        BehaviorError: A behavior is invalid.
        NeuronError: A named neuron is malformed or lies outside the model.
        UsageError: Nothing worth measuring fits into the budget.
    """
    loaded = _load_behaviors(behaviors, remote_judge)
    for name in (options.get("screen", DEFAULT_SCREEN), *options.get("more_screens", ())):
        find_screen(name)
    top, random = options.get("top", 0), options.get("random")
    if top < 0 or (random or 0) < 0:
        raise UsageError(f"top and random must be 0 or more, got {top} and {random}")
    plan = plan_audit(model, [(behavior_source(given), behavior) for given, behavior in loaded], **options)
    found = tuple(behavior for _, behavior in loaded)
    if budget is not None:
        fitted, expected, given_up = fit_to_budget(model, found, plan, time_sample(model), budget)
        return PlannedAudit(fitted.model_copy(update={"given_up": tuple(given_up)}), found, expected)
    return PlannedAudit(plan, found, estimate_audit(model, found, plan, time_sample(model)) if estimate else None)


def carry_out(
    model: Model, planned: PlannedAudit, out: str | Path | None = None, progress: Progress | None = None
) -> AuditResult:
    """Do a planned audit.

    Args:
        model: The model.
        planned: The audit.
        out: As for `audit`.
        progress: Where progress is shown.

    Raises:
        BehaviorError: Too few prompts of a behavior are eligible.
        LedgerError: The directory holds another run, or cannot be written.
        OperationError: The hooks failed their self-proof.
    """
    directory = None if out is None else Path(out)
    with run_ledger(directory) as ledger:
        job = Audit(model, planned.behaviors, planned.plan, ledger, progress)
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


def _load_behaviors(
    given: Sequence[BehaviorLike] | BehaviorLike, remote_judge: bool
) -> list[tuple[BehaviorLike, Behavior]]:
    listed = [given] if isinstance(given, str | Path | Behavior) else list(given)
    if not listed:
        raise UsageError("no behavior was given", "name one, as in --behavior refusal")
    loaded = [(item, load_to_run(item, remote_judge=remote_judge)) for item in listed]
    names = [behavior.name for _, behavior in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the behavior {name!r} was given twice", "give each behavior once, under its own name")
    return loaded
