"""How well a circuit's neurons tell X+ from X−, measured on prompts that it was not found on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import Split
from controlwindow.cells import DetectionCell, Rows
from controlwindow.circuits.controls import Controls
from controlwindow.circuits.detection import Detection, detection
from controlwindow.circuits.selection import Circuit
from controlwindow.errors import BehaviorError
from controlwindow.instruments.arrays import unpack_array
from controlwindow.runs.asks import Asks
from controlwindow.runs.scheduler import Scheduler


class Detections(NamedTuple):
    """Detections of the circuit and of random neurons.

    Attributes:
        split: The split they were measured on; the find split where no other has a contrast.
        arms: By kind: "circuit", "random".
    """

    split: Split
    arms: Mapping[str, Detection]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "split": self.split,
            "in_sample": self.split == "find",
            "arms": [{"arm": name, **found.to_json()} for name, found in self.arms.items()],
        }


def detections(
    scheduler: Scheduler, behavior: Behavior, circuit: Circuit, controls: Controls, seed: int
) -> Detections | None:
    """Measure detections; the direction in which a neuron detects is taken from the find split of the same model.

    Args:
        scheduler: Runs the cells; its model is the one that is measured.
        behavior: The behavior.
        circuit: The circuit.
        controls: Its controls, whose random neurons stand beside it.
        seed: Seed of the bootstrap; equal seeds pair the prompts of two models.

    Returns:
        None where the find split has no contrast.
    """
    if not has_contrast(behavior, "find"):
        return None
    order: tuple[Split, ...] = ("evaluate", "select", "find")
    split = next(name for name in order if has_contrast(behavior, name))
    random = tuple(dict.fromkeys(name for names in controls.random for name in names))
    sets = {"circuit": circuit.neurons, **({"random": random} if random else {})}
    parts: tuple[Split, ...] = ("find", split)
    cells = {
        (name, part): DetectionCell(behavior.name, part, neurons) for name, neurons in sets.items() for part in parts
    }
    asked = Asks(list(dict.fromkeys(cells.values())))
    scheduler.run(f"detection {behavior.name}", [asked])
    found = {}
    for name in sets:
        oriented = _read(asked.results[cells[name, "find"]])
        signs = np.sign(oriented["positive"].mean(0) - oriented["negative"].mean(0)).astype(int).tolist()
        here = _read(asked.results[cells[name, split]])
        found[name] = detection(here["positive"], here["negative"], signs, seed)
    return Detections(split, found)


def has_contrast(behavior: Behavior, split: Split) -> bool:
    """Whether a split has X+ and X− enough."""
    try:
        behavior.contrast(split)
    except BehaviorError:
        return False
    return True


def _read(rows: Rows) -> dict[str, Any]:
    return {name: unpack_array(rows[0][name]) for name in ("positive", "negative")}
