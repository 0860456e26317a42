"""Searches for windows side by side, on the prompts that are eligible, at the behavior's last horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import Rows
from controlwindow.runs.progress import Progress
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.search import Candidate, SearchTask, WindowSearch, stride_for

SPLIT: Split = "evaluate"
"""What windows are measured on."""

Key = TypeVar("Key")


def search_windows(
    scheduler: Scheduler, behavior: Behavior, eligible: Rows, candidates: Mapping[Key, Candidate], progress: Progress
) -> dict[Key, WindowSearch]:
    """Search every candidate's window.

    Args:
        scheduler: Runs the searches.
        behavior: The behavior.
        eligible: Undosed rows of the eligible prompts.
        candidates: What is dosed, by any name.
        progress: Where progress is shown.

    Returns:
        The finished searches by the same names.
    """
    task = SearchTask(
        behavior=behavior.name,
        split=SPLIT,
        prompts=tuple(row["prompt"] for row in eligible),
        horizon=behavior.horizons[-1],
        target_outcomes=behavior.target_outcomes,
        level=behavior.threshold,
        positions=behavior.positions,
        stride=stride_for(len(candidates)),
        fill=True,
    )
    searches = {key: WindowSearch(candidate, task, eligible) for key, candidate in candidates.items()}
    with progress.stage(f"{behavior.name}: windows", searches=list(searches.values())):
        scheduler.run(f"windows {behavior.name}", list(searches.values()))
    return searches
