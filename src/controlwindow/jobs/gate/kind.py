"""The gate as a kind of run: how one is gone on with, read, drawn and shown. All of it withholds what the page does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.gate.comparing import Baseline
from controlwindow.jobs.gate.job import GateJob
from controlwindow.jobs.gate.outputs import write_outputs
from controlwindow.jobs.gate.plan import GatePlan
from controlwindow.models import Model
from controlwindow.report.pages.gate.document import GateDocument, gate_document
from controlwindow.report.pages.gate.page import gate_terminal
from controlwindow.report.sharing import shareable
from controlwindow.runs.kinds import Job, Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress
from controlwindow.runs.resuming import Identity, planned_behavior, planned_model
from controlwindow.values import round_floats

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class GateResult:
    """What a gate gives back.

    Attributes:
        verdict: pass, fail, or unjudged.
        exit_code: 0, 1 or 2.
        document: What `gate.json` holds, as plain values.
        directory: The run directory.
    """

    verdict: str
    exit_code: int
    document: dict[str, Any]
    directory: Path


class GateKind(Kind):
    """Gates."""

    name = "gate"
    begin = "controlwindow gate --out"
    plan = GatePlan

    def job(
        self, plan: GatePlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> GateJob:
        """The gate of a plan."""
        found = planned_model(model, plan, directory)
        behaviors = [planned_behavior(reference, plan, directory) for reference in plan.behaviors]
        baseline = None if plan.baseline is None else self._baseline(plan, directory)
        return GateJob(found, behaviors, plan, ledger, directory, baseline, progress)

    def result(self, found: Any, job: Job, directory: Path | None) -> GateResult:
        """The verdict, and what may be shared of the reasons."""
        assert directory is not None
        document = self.document(directory)
        return GateResult(document["verdict"], document["exit_code"], document, directory)

    def read(self, directory: Path, shown: Shown) -> GateDocument:
        """The document of a finished gate as it may be shared.

        Raises:
            LedgerError: It is not finished.
        """
        with open_run(directory) as ledger:
            self.planned(ledger)
            found = ledger.find("result", self.name)
        if found is None:
            raise LedgerError(f"the gate {directory} is not finished", f"go on with controlwindow resume {directory}")
        return shareable(gate_document(round_floats(found)), include_neurons=self.names_neurons(directory, shown))

    def document(self, directory: Path) -> dict[str, Any]:
        """What `gate.json` holds: logs of a build are read by many, so that this withholds as the page does."""
        return self.read(directory, Shown()).model_dump(mode="json")

    def page(self, directory: Path, shown: Shown) -> Path:
        """Write all outputs."""
        return write_outputs(self.read(directory, shown), directory)

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Verdict, checks, and what broke them."""
        yield from gate_terminal(self.read(directory, shown))

    def _baseline(self, plan: GatePlan, directory: Path) -> Baseline:
        reference = plan.baseline
        assert reference is not None
        if reference.kind == "run":
            return Baseline(reference)
        identity = Identity(reference.name, reference.source, reference.fingerprint)
        return Baseline(reference, planned_model(None, plan, directory, identity))


register_kind(GateKind())
