"""Windows of residual vectors as a kind of run: how one is gone on with, read and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlwindow.jobs.vectors.job import VectorsJob
from controlwindow.jobs.vectors.plan import VectorsPlan
from controlwindow.models import Model
from controlwindow.report.pages.vectors.document import vectors_document
from controlwindow.report.pages.vectors.terminal import vectors_terminal
from controlwindow.report.sharing import shareable
from controlwindow.runs.kinds import Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger, behavior_records
from controlwindow.runs.plan import is_finished
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.resuming import planned_behavior, planned_model
from controlwindow.values import round_floats

if TYPE_CHECKING:
    from rich.console import RenderableType

_KEYS = (
    "branch", "trigger", "trigger_interval", "ceiling", "ceiling_interval", "ceiling_predicted",
    "ceiling_predicted_interval", "height", "height_interval", "verdict", "verdict_probability", "decided",
    "failure_mode", "outcomes", "outcomes_at", "triggers_by_outcome", "n_eligible", "c0", "trigger_t", "ceiling_t",
    "budget",
)  # fmt: skip


class VectorsKind(Kind):
    """Windows of residual vectors."""

    name = "vectors"
    begin = "controlwindow audit --vector FILE:LAYER --out"
    plan = VectorsPlan
    page_name = None

    def job(
        self, plan: VectorsPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> VectorsJob:
        """The job of a plan; the vectors lie in the ledger."""
        found = planned_model(model, plan, directory)
        behaviors = [planned_behavior(reference, plan, directory) for reference in plan.behaviors]
        return VectorsJob(found, behaviors, plan, ledger, progress=progress or Silent())

    def document(self, directory: Path) -> dict[str, Any]:
        """Windows, nothing withheld; an unfinished run gives what it has."""
        with open_run(directory) as ledger:
            plan, model = self.planned(ledger), ledger.find("model", "model") or {}
            layers = {vector.name: vector.layer for vector in plan.vectors}
            behaviors = behavior_records(ledger)
            windows = [
                {
                    "vector": window["neuron"],
                    "layer": layers[window["neuron"]],
                    "behavior": window["behavior"],
                    **{key: window[key] for key in _KEYS},
                }
                for window in ledger.find_all("window").values()
            ]
            document: dict[str, Any] = round_floats(
                {
                    "run": plan.run,
                    "model": model["name"],
                    "fingerprint": plan.fingerprint,
                    "finished": is_finished(ledger, self.name),
                    "organism": model["organism"],
                    "layers": model["layers"],
                    "sensitive": sorted(name for name, record in behaviors.items() if record["sensitive"]),
                    "vectors": [vector.model_dump() for vector in plan.vectors],
                    "windows": windows,
                }
            )
        return document

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Every window, withheld as on pages."""
        document = vectors_document(self.document(directory))
        yield from vectors_terminal(shareable(document, include_neurons=self.names_neurons(directory, shown)))


register_kind(VectorsKind())
