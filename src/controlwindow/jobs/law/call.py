"""`validate`: the control-window law held against models, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlwindow.errors import ReportError
from controlwindow.jobs.law.plan import LawSizes, make_plan
from controlwindow.jobs.law.rescoring import rescore_file
from controlwindow.jobs.law.runner import run_law
from controlwindow.report.pages.law.page import law_text, write_law
from controlwindow.report.writing import replace_file
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.provenance import work_in


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
    write_law(document, Path(out), None if write is None else Path(write), work_in(Path(out)))
    return document


def rescore(path: str | Path, models: Sequence[str] = (), write: str | Path | None = None) -> dict[str, Any]:
    """Score the records of a law document anew and write the document; nothing is rolled out.

    Args:
        path: A file that `validate` wrote.
        models: Where models lie that are no organisms of this installation, for documents whose records do not say
            which neurons share a write column.
        write: Where it is written; default where it was read.

    Raises:
        LedgerError: It is no law document, or the weights of one of its models are needed and not at hand.
        ReportError: It cannot be written.
    """
    document = rescore_file(Path(path), models)
    target = Path(path if write is None else write)
    try:
        replace_file(target, law_text(document))
    except OSError as error:
        raise ReportError(
            f"the law document cannot be written to {target}: {error.strerror or error}", "choose another place"
        ) from error
    return document
