"""`validate`: the control-window law held against models, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlwindow.jobs.law.plan import LawSizes, make_plan
from controlwindow.jobs.law.runner import run_law
from controlwindow.report.pages.law.page import write_law
from controlwindow.runs.progress import Progress, Silent


def validate(
    models: Sequence[str],
    behaviors: Sequence[str | Path] = (),
    out: str | Path = "runs/law",
    *,
    sizes: LawSizes | None = None,
    jobs: int = 1,
    write: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Hold the control-window law against models (method sections 1 to 3 and 5).

    Calibration neurons are measured in every model; predictors are fitted on them, and once more without each lineage;
    ceilings, triggers, verdicts and failure modes of the held-out neurons are predicted and committed; only then are
    these measured and the predictions scored. A run directory that holds the same validation is gone on with.

    Args:
        models: Organisms, directories or hub ids.
        behaviors: Names or TOML files of behaviors, for models that have none of their own.
        out: The run directory: a ledger for each model, `law.json`, `law.html`, figures and tables.
        sizes: How much is measured.
        jobs: Models measured at the same time, each in a process of one thread; more than 1 starts processes anew, so
            that a script must keep its own work under `if __name__ == "__main__"`.
        write: Another file that the law document is written to.
        progress: Where progress is shown.

    Returns:
        The law document, plain values (docs/law.md).

    Raises:
        UsageError: No model, or one without a behavior.
        LedgerError: The directory holds another validation, or the ledgers do not prove the order of events.
        ReportError: The document cannot be written.

    Example:
        >>> import controlwindow as cw
        >>> law = cw.validate(["organism:switch"], out="runs/law")  # doctest: +SKIP
        >>> law["order"]["proved"]  # doctest: +SKIP
        True
    """
    progress = progress or Silent()
    with progress.stage("reading the models"):
        plan = make_plan(models, [str(b) for b in behaviors], sizes or LawSizes())
    document = run_law(plan, Path(out), jobs=jobs, progress=progress)
    write_law(document, Path(out), None if write is None else Path(write))
    return document
