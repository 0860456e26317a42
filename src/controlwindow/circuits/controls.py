"""The controls that are always on: which sets and pushes stand beside a circuit, and what is said when one is missing.

- `random`: neurons drawn under the same selection as the circuit's (the screen's own control "random": the same layers,
  and in a screen that selects on the way the same selection), once for every seed;
- `shuffled`: the circuit that the same screen finds on shuffled labels;
- `attention`: a random direction pushed into attention's outputs, in every layer as long as the move of the residual
  that the circuit's change makes there;
- `layers`: each layer's part of the circuit alone, all but it, and random neurons of that layer;
- `attention_held`: the same change with attention outputs held as they were undosed: what is left is the direct effect.

Splits are disjoint: neurons are found on one, the strength is chosen on another, and neither saw what is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from controlwindow.circuits.selection import by_layer

ControlName = Literal["random", "shuffled", "attention", "layers", "attention_held"]

CONTROLS: tuple[ControlName, ...] = ("random", "shuffled", "attention", "layers", "attention_held")

DESCRIPTIONS: dict[ControlName, str] = {
    "random": "random neurons under the same selection",
    "shuffled": "the same screen on shuffled labels",
    "attention": "attention outputs pushed by as much",
    "layers": "layer by layer",
    "attention_held": "attention outputs held fixed",
}


@dataclass(frozen=True)
class Arm:
    """One thing that is done to the model, at every strength of a ladder.

    Attributes:
        kind: "circuit", or the control's name; "layers" for parts of the circuit.
        seed: Which draw it is, 0 where nothing is drawn.
        neurons: The neurons that are scaled; empty for a push of attention.
        layer: The layer that a part belongs to, or that it leaves out.
        part: What of the circuit it is: "whole", "alone", "all_but", or "random" for other neurons of the layer.
    """

    kind: str
    seed: int = 0
    neurons: tuple[str, ...] = ()
    layer: int | None = None
    part: str = "whole"


@dataclass(frozen=True)
class Controls:
    """Neurons of every control, and the reason of each that could not be had.

    Attributes:
        random: Names by seed.
        shuffled: Names by seed.
        missing: Reason by control.
    """

    random: tuple[tuple[str, ...], ...] = ()
    shuffled: tuple[tuple[str, ...], ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether no control is missing; a result without its controls is marked so."""
        return not self.missing

    def status(self) -> list[dict[str, Any]]:
        """Each control, and why it is missing if it is."""
        return [
            {
                "control": name,
                "description": DESCRIPTIONS[name],
                "measured": name not in self.missing,
                "reason": self.missing.get(name),
            }
            for name in CONTROLS
        ]

    def mark(self) -> str:
        """What stands beside a result that lacks controls; empty where none is missing.

        Example:
            >>> Controls(missing={"shuffled": "no contrast"}).mark()
            'WITHOUT CONTROL: shuffled (no contrast)'
        """
        if self.complete:
            return ""
        return "WITHOUT CONTROL: " + "; ".join(f"{name} ({reason})" for name, reason in self.missing.items())

    def sets(self) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """Kind, seed and neurons of every set."""
        for kind, draws in (("random", self.random), ("shuffled", self.shuffled)):
            for seed, neurons in enumerate(draws):
                yield kind, seed, neurons

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "random": [list(names) for names in self.random],
            "shuffled": [list(names) for names in self.shuffled],
            "missing": dict(self.missing),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Controls:
        """Read `to_json`."""
        return cls(
            tuple(tuple(names) for names in values["random"]),
            tuple(tuple(names) for names in values["shuffled"]),
            dict(values["missing"]),
        )


def whole_arms(circuit: Sequence[str], controls: Controls, seeds: int) -> list[Arm]:
    """The circuit, its random and shuffled counterparts, and pushes of attention."""
    sets = [Arm(kind, seed, neurons) for kind, seed, neurons in controls.sets()]
    pushes = [] if "attention" in controls.missing else [Arm("attention", seed) for seed in range(seeds)]
    return [Arm("circuit", 0, tuple(circuit)), *sets, *pushes]


def layer_arms(circuit: Sequence[str], controls: Controls) -> list[Arm]:
    """Each layer's part of a circuit alone, all but it, and the random neurons that stand for it."""
    arms = []
    parts = by_layer(circuit)
    for layer, names in parts.items():
        arms.append(Arm("layers", 0, names, layer, "alone"))
        if len(parts) > 1:
            rest = tuple(name for name in circuit if name not in names)
            arms.append(Arm("layers", 0, rest, layer, "all_but"))
        arms += [
            Arm("layers", seed, by_layer(drawn)[layer], layer, "random")
            for seed, drawn in enumerate(controls.random)
            if layer in by_layer(drawn)
        ]
    return arms
