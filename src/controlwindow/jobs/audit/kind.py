"""The audit as a kind of run: how one is gone on with, read, drawn and shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from controlwindow.jobs.audit.document import report_document
from controlwindow.jobs.audit.job import Audit
from controlwindow.jobs.audit.plan import AuditPlan
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.models import Model
from controlwindow.report.pages.audit.tables import coverage_lines, headline_lines, rank_table, verdict_table
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import write_report
from controlwindow.runs.kinds import Job, Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import is_finished
from controlwindow.runs.progress import Progress
from controlwindow.runs.provenance import work_of
from controlwindow.runs.resuming import planned_behavior, planned_model
from controlwindow.windows.window import Window

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class AuditResult:
    """What an audit gives back.

    Attributes:
        windows: Every tested neuron on both branches.
        results: The same as plain values, with plan and coverage.
        directory: The run directory; None when the ledger was kept in memory.
    """

    windows: list[Window]
    results: RunResults
    directory: Path | None


class AuditKind(Kind):
    """Audits."""

    name = "audit"
    begin = "controlwindow audit --out"
    plan = AuditPlan

    def job(
        self, plan: AuditPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> Audit:
        """The audit of a plan."""
        found = planned_model(model, plan, directory)
        behaviors = [planned_behavior(reference, plan, directory) for reference in plan.behaviors]
        return Audit(found, behaviors, plan, ledger, progress)

    def result(self, found: list[Window], job: Job, directory: Path | None) -> AuditResult:
        """Windows, and what is read of them in the ledger."""
        return AuditResult(found, read_results(job.ledger), directory)

    def document(self, directory: Path) -> dict[str, Any]:
        """Windows and coverage; an unfinished audit gives what it has."""
        with open_run(directory) as ledger:
            return read_results(ledger).to_json()

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the report."""
        with open_run(directory) as ledger:
            plan, document, work = self.planned(ledger), report_document(ledger), work_of(ledger)
        return write_report(
            document,
            directory,
            include_completions=plan.include_completions if shown.completions is None else shown.completions,
            include_neurons=plan.include_neurons if shown.neurons is None else shown.neurons,
            work=work,
        )

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Headlines, verdicts, and what they do not show."""
        with open_run(directory) as ledger:
            document, finished = report_document(ledger), is_finished(ledger, self.name)
        document = shareable(document, include_neurons=self.names_neurons(directory, shown))
        yield from headline_lines(document)
        yield ""
        yield verdict_table(document)
        yield from coverage_lines(document)
        if document.coverage.screen_recall:
            yield rank_table(document)
        if not finished:
            yield Text(f"unfinished: controlwindow resume {directory}", style="yellow")


register_kind(AuditKind())
