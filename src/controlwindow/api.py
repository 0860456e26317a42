"""What serves every kind of run: going on with it, reading it, drawing it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controlwindow.models import Model
from controlwindow.runs.kinds import Shown, kind_of
from controlwindow.runs.progress import Progress


def resume(directory: str | Path, *, model: Model | None = None, progress: Progress | None = None) -> Any:
    """Go on with a run of any kind that was cut off; a finished one is only reported again.

    Args:
        directory: The run directory.
        model: The model, where the run was made of one in hand.
        progress: Where progress is shown.

    Returns:
        What the call that began the run gives back: `AuditResult` of an audit, `CircuitResult` of a circuit, and so on.

    Raises:
        LedgerError: No such run, a damaged one, or the model or a behavior is no longer what was planned.
        ModelError: The model was in hand and is not given.
    """
    return kind_of(directory).resume(Path(directory), model, progress)


def results(directory: str | Path) -> dict[str, Any]:
    """The results of a run of any kind, as `results --json` prints them, from its ledger alone.

    Raises:
        LedgerError: No such run, or it has no results yet.
    """
    return kind_of(directory).document(Path(directory))


def report(
    directory: str | Path, *, include_completions: bool | None = None, include_neurons: bool | None = None
) -> Path:
    """Draw page and figures of a run of any kind again, from its ledger.

    Args:
        directory: The run directory.
        include_completions: Show completions of sensitive behaviors; None keeps what the run was begun with.
        include_neurons: Name neurons and doses of sensitive behaviors on models that are no organisms; likewise.

    Returns:
        Where the page lies.

    Raises:
        LedgerError: No such run, or it has no results yet.
        ReportError: A figure cannot be drawn, or a file cannot be written.
        UsageError: This kind of run has no page.
    """
    return kind_of(directory).page(Path(directory), Shown(include_completions, include_neurons))
