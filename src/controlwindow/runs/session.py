"""What comes before any measurement of a model: hooks proven, generic text read, the coherence detector set."""

from __future__ import annotations

from dataclasses import asdict

from controlwindow.behaviors import CoherenceDetector
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.proof import prove_hooks
from controlwindow.measuring.detector import calibrate_detector
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress


def prepare(model: Model, ledger: Ledger, progress: Progress) -> GenericPass:
    """Hooks' self-proof, then the generic pass.

    Raises:
        OperationError: The hooks failed their self-proof.
    """
    with progress.stage(f"{model.name}: proving the hooks"):
        error = prove_hooks(model)
        if ledger.find("proof", "hooks") is None:
            ledger.record("proof", "hooks", {"relative_error": error, "layers": model.layers})
    with progress.stage(f"{model.name}: generic pass"):
        return generic_pass(model)


def set_detector(
    model: Model, generic: GenericPass, ledger: Ledger, seed: int, progress: Progress
) -> CoherenceDetector:
    """The coherence detector, from the ledger where it was set before."""
    found = ledger.find("coherence", "detector")
    if found is None:
        with progress.stage(f"{model.name}: setting the coherence detector"):
            detector, calibration = calibrate_detector(model, generic, seed)
        found = {"detector": asdict(detector), "calibration": asdict(calibration)}
        ledger.record("coherence", "detector", found)
    return CoherenceDetector(**found["detector"])
