"""The call that compares interventions from beginning to end, and what goes on with one that was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.cells import METHODS
from controlwindow.errors import LedgerError, ModelError
from controlwindow.interventions.comparison import Comparison
from controlwindow.jobs.audit.job import planted_neurons
from controlwindow.jobs.compare.job import KIND, LEVELS, ComparisonJob, ComparisonPlan, comparison_from_record
from controlwindow.models import Model, Neuron, load_model
from controlwindow.report.pages.compare.page import write_comparison
from controlwindow.runs.behavior_run import write_behavior_manifest
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import behavior_source, model_source
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.results import LEDGER_NAME, open_run


def compare_interventions(
    model: Model,
    behavior: str | Path | Behavior,
    neurons: Sequence[Neuron | str] | None = None,
    out: str | Path | None = None,
    *,
    methods: Sequence[str] = METHODS,
    levels: Sequence[float] = LEVELS,
    controls: bool = True,
    seed: int = 0,
    include_neurons: bool = False,
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
    loaded = behavior if isinstance(behavior, Behavior) else load_behavior(behavior)
    chosen = planted_neurons(model, loaded.name) if neurons is None else neurons
    plan = ComparisonPlan(
        neurons=tuple(str(model.require(neuron)) for neuron in chosen),
        methods=tuple(methods),  # type: ignore[arg-type]
        levels=tuple(levels),
        controls=controls,
        seed=seed,
    )
    where = {
        "source": model_source(model),
        "behavior_source": behavior_source(behavior),
        "include_neurons": include_neurons,
    }
    directory = None if out is None else Path(out)
    with Ledger() if directory is None else Ledger(directory / LEDGER_NAME, create=True) as ledger:
        ledger.lock()
        return _run(ComparisonJob(model, loaded, plan, ledger, progress or Silent(), where), directory, include_neurons)


def resume_comparison(
    directory: str | Path, *, model: Model | None = None, progress: Progress | None = None
) -> Comparison:
    """Go on with a comparison that was cut off; a finished one is only reported again.

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
        found = _plan(ledger)
        if model is None:
            if found["source"] is None:
                raise ModelError(
                    f"{directory} compares interventions on a model that was in hand ({found['model']})",
                    "load it and call controlwindow.jobs.compare.call.resume_comparison(directory, model=model)",
                )
            model = load_model(
                found["source"], device=found["device"], dtype=found["dtype"], system_prompt=found["system_prompt"]
            )
        plan = ComparisonPlan.from_record(found)
        behavior = load_behavior(found["behavior_source"])
        job = ComparisonJob(model, behavior, plan, ledger, progress or Silent())
        return _run(job, directory, found["include_neurons"])


def read_comparison(directory: str | Path) -> Comparison:
    """The results of a finished comparison, from its ledger alone.

    Raises:
        LedgerError: There is no such run, or it is not finished.
    """
    with open_run(Path(directory)) as ledger:
        behavior = _plan(ledger)["behavior"]["name"]
        found = ledger.find(KIND, behavior)
    if found is None:
        raise LedgerError(f"the comparison {directory} is not finished", f"go on with controlwindow resume {directory}")
    return comparison_from_record(found)


def write_comparison_report(directory: str | Path, *, include_neurons: bool = False) -> Path:
    """Draw page and figures of a finished comparison again, from its ledger.

    Raises:
        LedgerError: There is no such run, or it is not finished.
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    found = read_comparison(directory)
    with open_run(Path(directory)) as ledger:
        return write_comparison(found, Path(directory), include_neurons=include_neurons, **_secrecy(ledger))


def is_comparison_run(directory: str | Path) -> bool:
    """Whether a run directory holds a comparison of interventions.

    Raises:
        LedgerError: It holds no ledger.
    """
    with open_run(Path(directory)) as ledger:
        return ledger.find("plan", KIND) is not None


def _run(job: ComparisonJob, directory: Path | None, include_neurons: bool) -> Comparison:
    if directory is not None:
        job.commit_plan()
        write_behavior_manifest(job.ledger, directory, KIND)
    found = job.run()
    if directory is not None:
        write_comparison(found, directory, include_neurons=include_neurons, **_secrecy(job.ledger))
    return found


def _secrecy(ledger: Ledger) -> dict[str, bool]:
    """What decides whether the page withholds neurons."""
    return {
        "sensitive": any(behavior["sensitive"] for behavior in ledger.find_all("behavior").values()),
        "organism": (ledger.find("model", "model") or {})["organism"],
    }


def _plan(ledger: Ledger) -> dict[str, Any]:
    found: dict[str, Any] | None = ledger.find("plan", KIND)
    if found is None:
        raise LedgerError(f"{ledger.path} holds no comparison", "start one with `controlwindow compare --out`")
    return found
