"""The call that compares interventions from beginning to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.cells import METHODS
from controlwindow.interventions.comparison import Comparison
from controlwindow.jobs.audit.candidates import planted_neurons
from controlwindow.jobs.compare.job import ComparisonJob
from controlwindow.jobs.compare.kind import ComparisonKind
from controlwindow.jobs.compare.plan import LEVELS, check_request, plan_comparison
from controlwindow.models import Model, Neuron
from controlwindow.models.model import require_model
from controlwindow.models.neuron_files import named_neurons
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.progress import Progress, Silent


def compare_interventions(
    model: Model,
    behavior: str | Path | Behavior,
    neurons: Sequence[Neuron | str] | Neuron | str | None = None,
    out: str | Path | None = None,
    *,
    methods: Sequence[str] = METHODS,
    levels: Sequence[float] = LEVELS,
    controls: bool = True,
    seed: int = 0,
    include_neurons: bool = False,
    remote_judge: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare ways to steer at matched rates of a behavior: neurons against directions of the residual stream.

    Directions and ONE's d are found on the find split, settings and strengths chosen on the select split, and what is
    reported is measured on the evaluate split. A run directory that already holds the same comparison is gone on with.

    Args:
        model: The model.
        behavior: A name, a path to a TOML file, or a loaded behavior.
        neurons: The neurons; None for those planted in an organism.
        out: Run directory for ledger, page and figures; None keeps the ledger in memory.
        methods: add, ablate, pin, anchor (on neurons), mean_difference, directional_ablation (on the residual stream).
        levels: Rates of the behavior to be matched.
        controls: Also compare a random neuron of the same layer, and a direction of shuffled labels.
        seed: Seed of everything random.
        include_neurons: Name neurons and strengths of a sensitive behavior in the page of a model that is no organism.
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
        progress: Where progress is shown.

    Raises:
        UsageError: Nothing is to be compared, or a level or a method makes no sense.
        BehaviorError: The behavior has no contrast, or too few of its prompts are eligible.
        NeuronError: A neuron is malformed, lies outside the model or has no budget.
        LedgerError: The directory holds another run, or cannot be written.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> found = cw.compare_interventions(model, "language", ["L4.N160"])  # doctest: +SKIP
        >>> found.table()  # doctest: +SKIP
    """
    require_model(model)
    loaded = load_to_run(behavior, remote_judge=remote_judge)
    chosen = planted_neurons(model, loaded.name) if neurons is None else named_neurons(neurons)
    request = check_request([str(model.require(neuron)) for neuron in chosen], methods, levels)
    plan = plan_comparison(
        model,
        behavior,
        loaded,
        request,
        controls=controls,
        seed=seed,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    )
    directory = None if out is None else Path(out)
    with run_ledger(directory) as ledger:
        job = ComparisonJob(model, loaded, plan, ledger, progress or Silent())
        found: Comparison = ComparisonKind().carry_out(job, directory)
    return found
