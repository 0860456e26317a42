"""The probe as a kind of run: how one is gone on with, read, drawn and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.probe.job import Probe
from controlwindow.jobs.probe.plan import ProbePlan
from controlwindow.models import Model
from controlwindow.report.pages.probe.page import write_probe_report
from controlwindow.report.pages.probe.terminal import probe_terminal
from controlwindow.runs.kinds import Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress
from controlwindow.runs.provenance import work_in
from controlwindow.runs.resuming import planned_behavior, planned_model
from controlwindow.values import round_floats

if TYPE_CHECKING:
    from rich.console import RenderableType


class ProbeKind(Kind):
    """Probes."""

    name = "probe"
    begin = "controlwindow probe --out"
    plan = ProbePlan

    def job(
        self, plan: ProbePlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> Probe:
        """The probe of a plan."""
        found = planned_model(model, plan, directory)
        return Probe(found, planned_behavior(plan.behavior, plan, directory), plan, ledger, progress)

    def document(self, directory: Path) -> dict[str, Any]:
        """The results of a finished probe."""
        with open_run(directory) as ledger:
            self.planned(ledger)
            found = ledger.find("result", self.name)
        if found is None:
            raise LedgerError(f"the probe {directory} is not finished", f"go on with controlwindow resume {directory}")
        document: dict[str, Any] = round_floats(found)
        return document

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the report."""
        return write_probe_report(
            self.document(directory),
            directory,
            include_neurons=self.names_neurons(directory, shown),
            work=work_in(directory),
        )

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Headline, importance, effects and rollouts."""
        yield from probe_terminal(self.document(directory), include_neurons=self.names_neurons(directory, shown))


register_kind(ProbeKind())
