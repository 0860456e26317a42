"""The call that probes a behavior's circuit from beginning to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.circuits.result import ProbeResult
from controlwindow.errors import UsageError
from controlwindow.jobs.probe.job import Probe
from controlwindow.jobs.probe.kind import ProbeKind
from controlwindow.jobs.probe.plan import ProbePlan, plan_settings
from controlwindow.models import Model
from controlwindow.models.model import require_model
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.plan import behavior_reference, model_head
from controlwindow.runs.progress import Progress


def probe(
    model: Model,
    behavior: str | Path | Behavior,
    out: str | Path | None = None,
    *,
    passes: int | None = None,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    include_neurons: bool = False,
    remote_judge: bool = False,
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
        remote_judge: Let judges on other machines read answers of sensitive behaviors.
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
    require_model(model)
    loaded = load_to_run(behavior, remote_judge=remote_judge)
    if passes is not None and passes < 1:
        raise UsageError(f"passes must be at least 1, got {passes}")
    plan = ProbePlan(
        **model_head(model),
        behavior=behavior_reference(behavior, loaded),
        passes=passes,
        seed=seed,
        settings=plan_settings(model, loaded, passes=passes, sizes=sizes, seed=seed),
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    ).named()
    directory = None if out is None else Path(out)
    with run_ledger(directory) as ledger:
        result: ProbeResult = ProbeKind().carry_out(Probe(model, loaded, plan, ledger, progress), directory)
    return result
