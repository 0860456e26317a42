"""Why windows are closed: what has to be measured beyond the searches, for those that found no trigger."""

from __future__ import annotations

from collections.abc import Mapping

from controlwindow.behaviors import Behavior
from controlwindow.cells import PropagationCell
from controlwindow.runs.asks import Asks
from controlwindow.runs.progress import Progress
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.failure import Reasons
from controlwindow.windows.search import WindowSearch
from controlwindow.windows.window import Measured, injection_search, read_search

Key = tuple[str, int]
"""A neuron's name and a branch."""


def find_reasons(
    scheduler: Scheduler,
    behavior: Behavior,
    searches: Mapping[Key, WindowSearch],
    readings: Mapping[Key, Measured],
    residual_norms: Mapping[Key, float],
    seed: int,
    progress: Progress,
) -> dict[Key, Reasons]:
    """Measure what the decision table asks for (method section 3).

    Args:
        scheduler: Runs the cells.
        behavior: The behavior.
        searches: The finished searches.
        readings: Their readings.
        residual_norms: ‖r_L‖ of each neuron's layer.
        seed: Seed of the run.
        progress: Where progress is shown.

    Returns:
        The reasons of every window that is not open.
    """
    closed = {key: search for key, search in searches.items() if not readings[key].open}
    injected = _inject(scheduler, behavior, closed, residual_norms, seed, progress)
    propagations = _propagate(scheduler, behavior, closed, readings, progress)
    return {key: Reasons(propagations[key], injected.get(key)) for key in closed}


def _inject(
    scheduler: Scheduler,
    behavior: Behavior,
    closed: Mapping[Key, WindowSearch],
    residual_norms: Mapping[Key, float],
    seed: int,
    progress: Progress,
) -> dict[Key, float | None]:
    """Triggers found by injecting the direction after the norm, for capped neurons."""
    injections = {
        key: injection_search(search, residual_norms[key])
        for key, search in closed.items()
        if search.candidate.curve.plateau is not None
    }
    if injections:
        with progress.stage(f"{behavior.name}: injections", searches=list(injections.values())):
            scheduler.run(f"injections {behavior.name}", list(injections.values()))
    return {key: read_search(search, seed).trigger.value for key, search in injections.items()}


def _propagate(
    scheduler: Scheduler,
    behavior: Behavior,
    closed: Mapping[Key, WindowSearch],
    readings: Mapping[Key, Measured],
    progress: Progress,
) -> dict[Key, float | None]:
    """Propagation at the ceiling, or at the last measured dose."""
    cells = {}
    for key, search in closed.items():
        ceiling = readings[key].ceiling.value
        t = search.doses[-1] if ceiling is None else round(search.candidate.dose(ceiling), 6)
        dosed = search.cell(t)
        cells[key] = PropagationCell(
            dosed.behavior, dosed.split, key[0], key[1], t, dosed.alpha, dosed.positions, dosed.prompts
        )
    asked = Asks(list(cells.values()))
    with progress.stage(f"{behavior.name}: reasons"):
        scheduler.run(f"propagation {behavior.name}", [asked])
    return {key: asked.results[cell][0]["propagation"] for key, cell in cells.items()}
