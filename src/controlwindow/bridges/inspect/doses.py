"""Any task of Inspect at a ladder of doses, so that it becomes a dose–response curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import eval_set
from inspect_ai.log import EvalLog
from inspect_ai.model import Model as InspectModel
from inspect_ai.model import get_model

from controlwindow.bridges.batching import share
from controlwindow.bridges.settings import choose_window, read_audit
from controlwindow.models import Model, Neuron

LADDER = ("undosed", "trigger", "middle", "ceiling")


def dose_models(
    model: Model | str,
    at: Sequence[float | str] = LADDER,
    *,
    run: str | Path | None = None,
    neuron: Neuron | str | None = None,
    branch: int | None = None,
    behavior: str | None = None,
    **options: Any,
) -> list[InspectModel]:
    """One model of Inspect for each dose.

    Args:
        model: The model, or what `load_model` takes.
        at: Control coordinates; with a run also `trigger`, `middle` and `ceiling`; `undosed` always.
        run: Directory of an audit whose window is meant.
        neuron: The neuron; with a run only where several windows fit.
        branch: Its branch, likewise.
        behavior: Whose window of the run.
        options: Further arguments of the model, such as `positions` or `device`.

    Raises:
        UsageError: The options name no window, or no dose reaches a coordinate.
        NeuronError: The neuron lies outside the model.
    """
    name = model
    if isinstance(model, Model):
        share(model)
        name = model.name
    dose: dict[str, Any] = {"run": None if run is None else str(run), "behavior": behavior}
    dose |= {"neuron": None if neuron is None else str(Neuron.parse(neuron)), "branch": branch}
    if run is not None:
        # Which window it is stands in every log by name, whatever the run holds later.
        window = choose_window(read_audit(run), run, dose["neuron"], behavior, branch)
        dose |= {key: window[key] for key in ("neuron", "branch", "behavior")}
    given = {key: value for key, value in {**dose, **options}.items() if value is not None}
    kept = {key: value for key, value in options.items() if key in ("device", "dtype", "adapter")}
    return [
        get_model(f"controlwindow/{name}", memoize=False, **(kept if c == "undosed" else {**given, "c": c})) for c in at
    ]


def evaluate_doses(
    tasks: Any,
    models: Sequence[InspectModel],
    log_dir: str | Path,
    **options: Any,
) -> list[EvalLog]:
    """Run tasks at every dose, one log each, as an eval set: a set that was cut off is gone on with.

    All doses run at once, since what their rows agree in is computed once.

    Args:
        tasks: What `inspect_ai.eval_set` takes.
        models: What `dose_models` gives.
        log_dir: Folder of the logs.
        options: Whatever else `eval_set` takes.

    Returns:
        The logs. `controlwindow report RUN --evals` draws them.
    """
    defaults: dict[str, Any] = {"max_tasks": max(1, len(models)), "display": "none", "fail_on_error": True}
    _, logs = eval_set(tasks, log_dir=str(log_dir), model=list(models), **{**defaults, **options})
    return list(logs)
