"""The circuit as a kind of run: how one is gone on with, read, drawn and shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.circuit.job import CircuitJob
from controlwindow.jobs.circuit.plan import CircuitPlan
from controlwindow.models import Model
from controlwindow.report.pages.circuit.page import write_circuit_report
from controlwindow.report.pages.circuit.tables import circuit_terminal
from controlwindow.runs.kinds import LEDGER_NAME, Job, Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress
from controlwindow.runs.provenance import work_in
from controlwindow.runs.resuming import Identity, planned_behavior, planned_model
from controlwindow.values import round_floats

if TYPE_CHECKING:
    from rich.console import RenderableType

BASE_DIRECTORY = "base"
"""Where in a run directory the base model's own ledger lies."""


@dataclass(frozen=True)
class CircuitResult:
    """What a circuit run gives back.

    Attributes:
        document: The results as plain values, as `--json` prints them; docs/circuits.md explains the keys.
        directory: The run directory; None when the ledger was kept in memory.
    """

    document: dict[str, Any]
    directory: Path | None

    @property
    def neurons(self) -> tuple[str, ...]:
        """Names of the circuit's neurons, best first."""
        return tuple(row["neuron"] for row in self.document["circuit"])


def base_ledger(directory: Path | None) -> Path | None:
    """Where the base model's own ledger lies; None where everything is kept in memory."""
    return None if directory is None else directory / BASE_DIRECTORY / LEDGER_NAME


class CircuitKind(Kind):
    """Circuits."""

    name = "circuit"
    begin = "controlwindow circuit --out"
    plan = CircuitPlan

    def job(
        self, plan: CircuitPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> CircuitJob:
        """The circuit of a plan; a base model that was in hand has to be given to `resume_circuit`."""
        return self.job_with(plan, ledger, directory, model, None, progress)

    def job_with(
        self,
        plan: CircuitPlan,
        ledger: Ledger,
        directory: Path,
        model: Model | None,
        base: Model | None,
        progress: Progress | None,
    ) -> CircuitJob:
        """The circuit of a plan, with a base model in hand."""
        found = planned_model(model, plan, directory)
        behavior = planned_behavior(plan.behavior, plan, directory)
        based = None
        if plan.base is not None:
            assert plan.base_fingerprint is not None
            based = planned_model(base, plan, directory, Identity(plan.base, plan.base_source, plan.base_fingerprint))
        return CircuitJob(found, behavior, plan, ledger, based, base_ledger(directory), progress)

    def result(self, found: dict[str, Any], job: Job, directory: Path | None) -> CircuitResult:
        """The document, floats rounded."""
        return CircuitResult(round_floats(found), directory)

    def document(self, directory: Path) -> dict[str, Any]:
        """The results of a finished circuit."""
        with open_run(directory) as ledger:
            self.planned(ledger)
            found = ledger.find("result", self.name)
        if found is None:
            raise LedgerError(
                f"the circuit {directory} is not finished", f"go on with controlwindow resume {directory}"
            )
        document: dict[str, Any] = round_floats(found)
        return document

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the report."""
        return write_circuit_report(
            self.document(directory),
            directory,
            include_neurons=self.names_neurons(directory, shown),
            work=work_in(directory),
        )

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Headlines, the ladder beside its controls, the layers, and the base model's ladder."""
        yield from circuit_terminal(self.document(directory), include_neurons=self.names_neurons(directory, shown))


register_kind(CircuitKind())
