"""The ways to steer that are compared: what each is free to choose, and the strengths it is tried at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from controlwindow.behaviors.prompts import Role, Split
from controlwindow.cells import NEURON_METHODS, CapabilityCell, InterventionCell, MethodName
from controlwindow.instruments.operations import Positions

ArmKind = Literal["neuron", "residual", "control"]

LADDER = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0)
"""Strengths in budget units, or in units of the layer's median ‖r_L‖, of what can be pushed without a limit."""

COARSE_LADDER = (0.4, 1.0, 2.5)
"""Those of them at which settings are chosen."""

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of an activation that are ablated."""

DIRECTION_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of a direction that are taken out at each site; they compound over the sites, so that small ones count."""

COARSE_DIRECTION_SHARES = (0.1, 1.0)
"""Those of them at which the layer of the direction is chosen."""


class Setting(NamedTuple):
    """One choice that a method leaves open.

    Attributes:
        sign: Which way it pushes.
        layer: The layer of the direction; None for methods on a neuron.
        multiple: ONE's k; 1 where there is none.
    """

    sign: int = 1
    layer: int | None = None
    multiple: int = 1


@dataclass(frozen=True)
class Arm:
    """One method with its neuron or directions.

    Attributes:
        method: The method.
        kind: On a neuron, on the residual stream, or a control of either.
        settings: What it may choose from, on the select split.
        units: The raw strength of one unit by layer, or of the neuron in every entry; 1 for shares.
        neuron: The neuron; None for methods on the residual stream.
        center: Where pinned values are counted from: the neuron's mean activation on X+.
        gap: ONE's d, for an anchor.
        suffix: Positions after the instruction, for an anchor.
        positions: Positions that are dosed.
        source: The behavior that directions are measured on where it is another one, for a control.
    """

    method: MethodName
    kind: ArmKind
    settings: tuple[Setting, ...]
    units: tuple[float, ...]
    neuron: str | None = None
    center: float = 0.0
    gap: float = 0.0
    suffix: int = 1
    positions: Positions = "all"
    source: str = ""

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = [self.method.replace("_", " "), *([self.neuron] if self.neuron else [])]
        return " ".join(parts) + ({"control": " (control)"}.get(self.kind, ""))

    @property
    def ladder(self) -> tuple[float, ...]:
        """Strengths that are measured first, ascending."""
        return {"ablate": SHARES, "directional_ablation": DIRECTION_SHARES}.get(self.method, LADDER)

    @property
    def coarse(self) -> tuple[float, ...]:
        """Strengths at which settings are chosen, ascending."""
        coarse = {"ablate": SHARES, "directional_ablation": COARSE_DIRECTION_SHARES}
        return coarse.get(self.method, COARSE_LADDER)

    def between(self, low: float, high: float) -> float:
        """The strength half-way between two, in the scale in which the ladder is even."""
        if self.method == "ablate" or low <= 0:
            return (low + high) / 2
        return math.sqrt(low * high)

    def raw(self, setting: Setting, strength: float) -> float:
        """A strength as the cell has it: an offset, a value or a length with its sign, or a share."""
        if self.method in ("ablate", "directional_ablation"):
            return round(strength, 6)
        # Pinned values begin at the natural one: a pin near 0 is an ablation already, which would leave no way to a low
        # rate. Further on they pass 0 and have ONE's sign, opposite to a_H.
        start = self.center if self.method == "pin" else 0.0
        return round(start + setting.sign * strength * self.units[setting.layer or 0], 6)

    def rollouts(
        self,
        behavior: str,
        split: Split,
        setting: Setting,
        strength: float,
        horizon: int,
        prompts: tuple[str, ...] = (),
        role: Role = "positive",
    ) -> InterventionCell:
        """Rollouts at one strength.

        Args:
            behavior: The behavior's name.
            split: The split.
            setting: What is chosen.
            strength: In units.
            horizon: Tokens to generate.
            prompts: Ids of the prompts; empty for all.
            role: Steered prompts ("positive") or benign ones ("negative").
        """
        return InterventionCell(
            behavior,
            split,
            self.method,
            self.raw(setting, strength),
            self.neuron,
            setting.layer,
            self.gap,
            setting.multiple,
            self.suffix,
            self.positions,
            self.source,
            horizon=horizon,
            prompts=prompts,
            role=role,
        )

    def capability(self, behavior: str, split: Split, setting: Setting, strength: float) -> CapabilityCell:
        """The model's reading of generic answers at one strength."""
        return CapabilityCell(
            behavior,
            split,
            self.method,
            self.raw(setting, strength),
            self.neuron,
            setting.layer,
            self.gap,
            setting.multiple,
            self.suffix,
            self.positions,
            self.source,
        )


class Reference(NamedTuple):
    """What ONE's anchor needs to know of a neuron (`screens.one.reference_point`).

    Attributes:
        gap: d = a_H − a_h at t*.
        suffix: Positions after the instruction.
    """

    gap: float
    suffix: int


def neuron_arms(
    neuron: str,
    budget: float,
    center: float,
    methods: tuple[MethodName, ...],
    positions: Positions,
    reference: Reference | None,
    kind: ArmKind = "neuron",
) -> list[Arm]:
    """The methods on one neuron.

    A dose and a pin may go either way: ONE's, away from the activation on X+, is one of them. An anchor has the sign
    opposite to d, without which its formula has no meaning, and either k.

    Args:
        neuron: The neuron's name.
        budget: Its budget.
        center: Its mean activation on X+.
        methods: Which methods are wanted; those on the residual stream are passed over.
        positions: Positions that the behavior doses.
        reference: What an anchor needs; None leaves it out, and so does a gap of 0.
        kind: Whether the neuron is a control.
    """
    both = (Setting(1), Setting(-1))
    arms = []
    for method in (name for name in NEURON_METHODS if name in methods):
        if method == "anchor":
            if reference is None or reference.gap == 0:
                continue
            sign = -1 if reference.gap > 0 else 1
            settings = tuple(Setting(sign, multiple=k) for k in (1, 2))
            arms.append(Arm(method, kind, settings, (budget,), neuron, gap=reference.gap, suffix=reference.suffix))
        elif method == "ablate":
            arms.append(Arm(method, kind, (Setting(),), (1.0,), neuron, positions=positions))
        else:
            # ONE pins every position; a dose acts where the behavior says.
            where = positions if method == "add" else "all"
            arms.append(Arm(method, kind, both, (budget,), neuron, center, positions=where))
    return arms


def residual_arms(
    norms: tuple[float, ...],
    methods: tuple[MethodName, ...],
    positions: Positions,
    source: str = "",
) -> list[Arm]:
    """The baselines on the residual stream.

    Args:
        norms: Median ‖r_L‖ by layer: one unit of length.
        methods: Which methods are wanted; those on a neuron are passed over.
        positions: Positions that the behavior doses.
        source: A behavior that directions are measured on instead, which makes the arms controls.
    """
    kind: ArmKind = "control" if source else "residual"
    arms = []
    if "mean_difference" in methods:
        settings = tuple(Setting(sign, layer) for layer in range(len(norms)) for sign in (1, -1))
        arms.append(Arm("mean_difference", kind, settings, norms, positions=positions, source=source))
    if "directional_ablation" in methods:
        settings = tuple(Setting(1, layer) for layer in range(len(norms)))
        arms.append(Arm("directional_ablation", kind, settings, (1.0,) * len(norms), source=source))
    return arms
