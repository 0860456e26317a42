"""One model at work: hooks proven, generic text read, the coherence detector set, then an engine and a scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlwindow.behaviors import Behavior, CoherenceDetector
from controlwindow.cells import Cell, Rows
from controlwindow.instruments.generic import GenericPass, default_prompts, generic_pass
from controlwindow.instruments.proof import prove_hooks
from controlwindow.measuring.detector import kept_detector
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model
from controlwindow.models.kept import kept, reused
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger, settle_sensitivity
from controlwindow.runs.progress import Progress
from controlwindow.runs.records import origin_record
from controlwindow.runs.scheduler import Scheduler

CHUNK_ROWS = 512
"""Most rows of a chunk, where a plan does not say."""


@dataclass(frozen=True)
class Session:
    """What every stage of a run works with.

    Attributes:
        model: The model.
        behaviors: By name.
        ledger: The ledger.
        generic: The model's generic pass.
        engine: Measures cells.
        scheduler: Runs planners.
        progress: Where progress is shown.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    ledger: Ledger
    generic: GenericPass
    engine: Engine
    scheduler: Scheduler
    progress: Progress

    def ask(self, stage: str, cells: Sequence[Cell]) -> dict[Cell, Rows]:
        """Rows of cells that are known beforehand.

        Args:
            stage: Name of this part of the run.
            cells: The cells.
        """
        asked = Asks(cells)
        self.scheduler.run(stage, [asked])
        return asked.results


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be measured; what is screened may yet decide which behaviors there are.

    Attributes:
        model: The model.
        ledger: The ledger.
        generic: The model's generic pass.
        detector: The coherence detector; None where nothing is judged.
        progress: Where progress is shown.
        chunk_rows: Most rows of a chunk.
    """

    model: Model
    ledger: Ledger
    generic: GenericPass
    detector: CoherenceDetector | None
    progress: Progress
    chunk_rows: int

    def session(self, behaviors: Sequence[Behavior]) -> Session:
        """Begin to measure behaviors.

        Raises:
            LedgerError: A behavior is no longer sensitive that was when the run was begun.
        """
        settle_sensitivity(self.ledger, behaviors)
        by_name = {behavior.name: behavior for behavior in behaviors}
        engine = Engine(self.model, by_name, self.generic, self.ledger, self.detector, self.progress.rows)
        scheduler = Scheduler(self.ledger, engine, chunk_rows=self.chunk_rows, progress=self.progress.tick)
        return Session(self.model, by_name, self.ledger, self.generic, engine, scheduler, self.progress)


def prepare(
    model: Model,
    ledger: Ledger,
    progress: Progress,
    *,
    seed: int,
    chunk_rows: int = CHUNK_ROWS,
    generic_prompts: Sequence[str] | None = None,
    prove: bool = True,
    judge: bool = True,
) -> Prepared:
    """Prove the hooks, read generic text and set the detector; what the ledger holds already is taken from it.

    Args:
        model: The model.
        ledger: An open ledger.
        progress: Where progress is shown.
        seed: Seed of the detector's sampling and controls.
        chunk_rows: Most rows of a chunk.
        generic_prompts: Ordinary prompts for the generic pass; default the model's.
        prove: Whether hooks prove themselves; without a hook there is nothing to prove.
        judge: Whether rollouts will be judged, which takes a detector.

    Raises:
        OperationError: The hooks failed their self-proof.
        ModelError: The model's answers are empty.
    """
    ledger.remember("origin", "model", lambda: origin_record(model))
    if prove:
        with progress.stage(f"{model.name}: proving the hooks"):
            # What the hooks do depends on the machine at hand, so a proof is kept for it alone.
            error = kept(model, ("hook proof", default_prompts(model)), lambda: prove_hooks(model))
            ledger.remember("proof", "hooks", lambda: {"relative_error": error, "layers": model.layers})
    with progress.stage(f"{model.name}: generic pass"):
        generic = generic_pass(model, generic_prompts)
    detector = set_detector(model, generic, ledger, seed, progress) if judge else None
    if found := reused(model):
        ledger.remember("reused", "reused", lambda: found)
    return Prepared(model, ledger, generic, detector, progress, chunk_rows)


def set_detector(
    model: Model, generic: GenericPass, ledger: Ledger, seed: int, progress: Progress
) -> CoherenceDetector:
    """The coherence detector, from the ledger where it was set before."""

    def calibrated() -> dict[str, Any]:
        with progress.stage(f"{model.name}: setting the coherence detector"):
            return kept_detector(model, generic, seed)

    found = ledger.remember("coherence", "detector", calibrated)
    # A census once noted the detector alone.
    return CoherenceDetector(**found.get("detector", found))
