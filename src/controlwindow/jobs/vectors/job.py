"""Windows of residual vectors, from beginning to end: the same prompts, search and thresholds as a neuron's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.curves import SaturationCurve
from controlwindow.instruments.arrays import pack_array, unpack_array
from controlwindow.instruments.generic import GenericPass
from controlwindow.jobs.stages.eligible import eligible_rows
from controlwindow.jobs.stages.searching import search_windows
from controlwindow.jobs.vectors.plan import VectorsPlan
from controlwindow.models import Model
from controlwindow.models.vectors import ResidualVector
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.records import behavior_record, model_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare
from controlwindow.windows.failure import Reasons
from controlwindow.windows.layer_features import features_from_record, layer_features
from controlwindow.windows.search import Candidate
from controlwindow.windows.vectors import vector_prediction
from controlwindow.windows.window import Window, assemble, read_search

BRANCHES = (1, -1)


@dataclass
class VectorsJob:
    """Every stage looks into the ledger first, so that a run cut off goes on where it was.

    Attributes:
        model: The model.
        behaviors: The behaviors, in order.
        plan: What is to be done.
        ledger: An open ledger.
        vectors: The vectors; a run that is gone on with has them in its ledger.
        progress: Where progress is shown.
    """

    model: Model
    behaviors: Sequence[Behavior]
    plan: VectorsPlan
    ledger: Ledger
    vectors: Sequence[ResidualVector] = ()
    progress: Progress = field(default_factory=Silent)

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with: also the vectors, so that their files are not needed again."""
        vectors = [("vector", v.name, {"layer": v.layer, "values": pack_array(v.values.numpy())}) for v in self.vectors]
        behaviors = [("behavior", b.name, behavior_record(b)) for b in self.behaviors]
        return [("model", "model", model_record(self.model)), *behaviors, *vectors]

    def run(self) -> list[Window]:
        """Do the whole job.

        Returns:
            Windows of every vector on both branches, behavior by behavior; `neuron` is the vector's name.

        Raises:
            BehaviorError: Too few prompts are eligible.
            OperationError: The hooks failed their self-proof.
            LedgerError: The ledger cannot be written.
        """
        plan = self.plan
        prepared = prepare(self.model, self.ledger, self.progress, seed=plan.seed, chunk_rows=plan.chunk_rows)
        predictions = self._predictions(prepared.generic)
        scheduler = prepared.session(list(self.behaviors)).scheduler
        windows = []
        for behavior in self.behaviors:
            with self.progress.stage(f"{behavior.name}: undosed rollouts"):
                eligible = eligible_rows(scheduler, behavior)
            windows += self._windows(scheduler, behavior, eligible, predictions)
        self.ledger.remember("finished", plan.kind, lambda: {"windows": len(windows)})
        return windows

    def _predictions(self, generic: GenericPass) -> dict[tuple[str, int], Mapping[str, Any]]:
        """Predicted ceilings, committed before the first rollout of any vector."""

        def read() -> dict[str, Any]:
            with self.progress.stage(f"{self.model.name}: probe passes") as stage:
                features = layer_features(
                    self.model,
                    generic,
                    wanted={vector.layer for vector in stored_vectors(self.ledger)},
                    seed=self.plan.seed,
                    progress=stage.update,
                    remember=lambda layer, compute: self.ledger.remember("probe pass", str(layer), compute),
                )
            return {"layers": [asdict(layer) for layer in features]}

        layers = [features_from_record(row) for row in self.ledger.remember("generic", "generic", read)["layers"]]
        found = {}
        for vector in stored_vectors(self.ledger):
            for branch in BRANCHES:

                def predict(vector: ResidualVector = vector, branch: int = branch) -> dict[str, Any]:
                    return vector_prediction(self.model, vector, branch, generic, layers)

                key = f"{vector.name}/{branch:+d}"
                found[vector.name, branch] = self.ledger.remember("prediction", key, predict)
        return found

    def _windows(
        self,
        scheduler: Scheduler,
        behavior: Behavior,
        eligible: Rows,
        predictions: Mapping[tuple[str, int], Mapping[str, Any]],
    ) -> list[Window]:
        candidates = {
            key: Candidate(key[0], key[1], SaturationCurve(p["cosine"]), p["budget"], site="vector")
            for key, p in predictions.items()
        }
        searches = search_windows(scheduler, behavior, eligible, candidates, self.progress)
        windows = []
        for key, search in searches.items():
            reading, prediction = read_search(search, self.plan.seed), dict(predictions[key])
            window = assemble(search, reading, behavior, prediction, "named", Reasons(), {})
            windows.append(window)
            name = f"{behavior.name}/{key[0]}/{key[1]:+d}"
            if self.ledger.find("window", name) is None:
                self.ledger.record("window", name, window.to_dict())
        return windows


def stored_vectors(ledger: Ledger) -> list[ResidualVector]:
    """The vectors that a ledger holds."""
    return [
        ResidualVector(name, row["layer"], torch.tensor(unpack_array(row["values"]), dtype=torch.float32))
        for name, row in ledger.find_all("vector").items()
    ]
