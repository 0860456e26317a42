"""The audit as a kind of run: how one is gone on with, read, drawn and shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.text import Text

from controlwindow.jobs.audit.document import report_document
from controlwindow.jobs.audit.job import Audit
from controlwindow.jobs.audit.plan import AuditPlan
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.models import Model
from controlwindow.report.notebook import window_result, windows_html
from controlwindow.report.pages.audit.summary import headline, ranked
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

_FIRST = (
    "neuron", "behavior", "branch", "candidate_from", "verdict", "decided", "verdict_probability", "failure_mode",
)  # fmt: skip
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(_FIRST, pl.String),
    "branch": pl.Int64,
    "decided": pl.Boolean,
    "verdict_probability": pl.Float64,
    **{
        f"{name}{end}": pl.Float64
        for name in ("trigger", "ceiling", "ceiling_predicted", "height")
        for end in ("", "_low", "_high")
    },
    **dict.fromkeys(("trigger_t", "ceiling_t", "c0", "budget"), pl.Float64),
    "n_eligible": pl.Int64,
}


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

    def table(self) -> pl.DataFrame:
        """Every window as a row; c values, intervals as two columns each, null where not reached.

        Returns:
            neuron, behavior, branch, candidate_from, verdict, decided, verdict_probability, failure_mode, then trigger,
            ceiling, ceiling_predicted and height with `_low` and `_high` (95 %; predicted 90 %), trigger_t and
            ceiling_t in budget units, c0, budget, n_eligible.
        """
        rows = []
        for window in self.windows:
            row = {name: getattr(window, name) for name in _FIRST}
            for name in ("trigger", "ceiling", "ceiling_predicted", "height"):
                low, high = getattr(window, f"{name}_interval") or (None, None)
                row |= {name: getattr(window, name), f"{name}_low": low, f"{name}_high": high}
            rows.append(row | {name: getattr(window, name) for name in ("trigger_t", "ceiling_t", "c0", "budget")})
            rows[-1]["n_eligible"] = window.n_eligible
        return pl.DataFrame(rows, schema=_COLUMNS)

    def summary(self) -> str:
        """What was found, in sentences: of every behavior, and how much was tested."""
        return "\n".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        for behavior in self.results.behaviors:
            windows = ranked(window_result(w) for w in self.windows if w.behavior == behavior)
            words = headline(windows)
            yield f"{behavior}: {words.sentence}"
            yield from words.findings
        yield str(self.results.coverage()["statement"])

    def _repr_html_(self) -> str:
        return windows_html(self._sentences(), self.windows)


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
