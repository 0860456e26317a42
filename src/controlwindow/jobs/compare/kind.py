"""The comparison of interventions as a kind of run: how one is gone on with, read, drawn and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlwindow.errors import LedgerError
from controlwindow.interventions.comparison import Comparison
from controlwindow.jobs.compare.job import ComparisonJob, comparison_from_record
from controlwindow.jobs.compare.plan import ComparisonPlan
from controlwindow.models import Model
from controlwindow.report.pages.compare.page import comparison_terminal, write_comparison
from controlwindow.runs.kinds import Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.provenance import work_in
from controlwindow.runs.resuming import planned_behavior, planned_model

if TYPE_CHECKING:
    from rich.console import RenderableType


class ComparisonKind(Kind):
    """Comparisons of interventions."""

    name = "comparison"
    begin = "controlwindow compare --out"
    plan = ComparisonPlan

    def job(
        self, plan: ComparisonPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> ComparisonJob:
        """The comparison of a plan."""
        found = planned_model(model, plan, directory)
        return ComparisonJob(
            found, planned_behavior(plan.behavior, plan, directory), plan, ledger, progress or Silent()
        )

    def read(self, directory: Path) -> Comparison:
        """The results of a finished comparison.

        Raises:
            LedgerError: It is not finished.
        """
        with open_run(directory) as ledger:
            found = ledger.find(self.name, self.planned(ledger).behavior.name)
        if found is None:
            raise LedgerError(
                f"the comparison {directory} is not finished", f"go on with controlwindow resume {directory}"
            )
        return comparison_from_record(found)

    def document(self, directory: Path) -> dict[str, Any]:
        """The results of a finished comparison, as plain values."""
        return self.read(directory).to_json()

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the page."""
        neurons = self.names_neurons(directory, shown)
        return write_comparison(
            self.read(directory), directory, include_neurons=neurons, work=work_in(directory), **_secrecy(directory)
        )

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """What each method costs at one rate."""
        neurons = self.names_neurons(directory, shown)
        yield from comparison_terminal(self.read(directory), include_neurons=neurons, **_secrecy(directory))


def _secrecy(directory: Path) -> dict[str, bool]:
    """What decides whether neurons are withheld."""
    with open_run(directory) as ledger:
        return {
            "sensitive": any(behavior["sensitive"] for behavior in ledger.find_all("behavior").values()),
            "organism": (ledger.find("model", "model") or {})["organism"],
        }


register_kind(ComparisonKind())
