"""The call that takes the census of an organism."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlwindow.behaviors import load_behavior
from controlwindow.jobs.census.job import Census
from controlwindow.jobs.census.kind import CensusKind
from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.models import Model
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.progress import Progress, Silent


def run_census(
    model: Model,
    behaviors: Sequence[str],
    directory: Path,
    *,
    neurons: int = 384,
    prompts: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the census, or go on where it was cut off.

    Args:
        model: The organism.
        behaviors: Names of its behaviors.
        directory: Run directory of the census.
        neurons: Size of the random sample.
        prompts: Eligible evaluation prompts used.
        seed: Seed of the sample.
        progress: Where progress is shown.

    Returns:
        What the card records: sample, grid, prompts, one row per neuron, branch and behavior, and open rates.

    Raises:
        LedgerError: The directory holds another run, or cannot be written.
        BehaviorError: Too few prompts are eligible.
    """
    plan = CensusPlan(
        organism=model.name,
        fingerprint=model.fingerprint,
        behaviors=tuple(behaviors),
        neurons=neurons,
        prompts=prompts,
        seed=seed,
    )
    loaded = tuple(map(load_behavior, behaviors))
    with run_ledger(directory) as ledger:
        found: dict[str, Any] = CensusKind().carry_out(
            Census(model, loaded, plan, ledger, progress or Silent()), directory
        )
    return found
