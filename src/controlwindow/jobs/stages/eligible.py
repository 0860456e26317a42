"""Undosed rollouts, and which prompts show the source state in them: on others nothing can flip."""

from __future__ import annotations

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import Role, Split
from controlwindow.cells import RolloutCell, Rows
from controlwindow.runs.asks import Asks
from controlwindow.runs.scheduler import Scheduler


def undosed_rows(
    scheduler: Scheduler,
    behavior: Behavior,
    split: Split = "evaluate",
    role: Role = "positive",
    *,
    stage: str | None = None,
) -> Rows:
    """Rows of the undosed rollouts of a split, all its prompts of a role; none where it has no prompts.

    Args:
        scheduler: Runs the cell.
        behavior: The behavior.
        split: The split.
        role: The role.
        stage: Name of this part of the run; default says the behavior.
    """
    if not behavior.prompts(split, role):
        return []
    cell = RolloutCell(behavior.name, split, horizon=behavior.horizons[-1], positions=behavior.positions, role=role)
    asked = Asks([cell])
    scheduler.run(stage or f"undosed {behavior.name}", [asked])
    return asked.results[cell]


def in_source_state(rows: Rows, behavior: Behavior) -> Rows:
    """Those of some rows that show the source state at the last horizon."""
    last = str(behavior.horizons[-1])
    return [row for row in rows if row["outcomes"][last] == behavior.source_outcome]


def eligible_rows(scheduler: Scheduler, behavior: Behavior) -> Rows:
    """Rows of the undosed evaluation rollouts that show the source state.

    Raises:
        BehaviorError: They are too few.
    """
    rows = undosed_rows(scheduler, behavior)
    chosen = in_source_state(rows, behavior)
    behavior.require_eligible(len(chosen), len(rows))
    return chosen
