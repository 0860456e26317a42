"""Predicted ceilings of single neurons: from weights, one generic pass and probe passes per layer; no rollout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from controlwindow.curves import Curve
from controlwindow.instruments.generic import BudgetKind, GenericPass, generic_pass
from controlwindow.instruments.probes import divergence_curve
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write
from controlwindow.windows.calibration import Calibration, PredictedCeiling, shipped_calibration

PROBE_LEVEL = 2.0
"""Mean KL in nats at which the probe curve is read (method section 2)."""

PROBE_DOSES: tuple[float, ...] = (0.25, 0.4, 0.6, 0.85, 1.2, 1.7, 2.4, 3.6, 5.4)
"""Doses of the probe curve, evenly spaced in log t; a curve that is below the level at the last one has no point."""


@dataclass(frozen=True)
class LayerFeatures:
    """What the predictors read of one layer.

    Attributes:
        layer: The layer.
        residual_norm: Median ‖r_L‖ of the generic pass.
        participation_ratio: PR of the generic pass.
        probe_dose: t at which random directions reach `PROBE_LEVEL`; None when never in range, or not probed.
        probe_curve: Mean KL at `PROBE_DOSES`, up to the first above the level; empty when not probed.
    """

    layer: int
    residual_norm: float
    participation_ratio: float
    probe_dose: float | None
    probe_curve: tuple[float, ...]

    def values(self) -> dict[str, float | None]:
        """The features by the names that predictors use."""
        return {"participation_ratio": self.participation_ratio, "probe_dose": self.probe_dose}


def layer_features(
    model: Model,
    generic: GenericPass | None = None,
    *,
    probe: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerFeatures]:
    """Features of every layer; kept with the model.

    Args:
        model: The model.
        generic: Its generic pass; default the model's own.
        probe: Whether to run the probe passes (tier ½). Without them only what the generic pass knows (tier 0).
        seed: Seed of the probe's random directions.
        progress: Called with layers done and layers in all.
    """
    generic = generic_pass(model) if generic is None else generic
    key = ("layer_features", generic.prompts, generic.positions, seed if probe else None)
    if key not in model.cache:
        features = []
        for layer in range(model.layers):
            curve: list[float] = []
            if probe:
                curve = divergence_curve(model, generic, layer, PROBE_DOSES, seed=seed, stop_above=PROBE_LEVEL)
            features.append(
                LayerFeatures(
                    layer=layer,
                    residual_norm=generic.residual_norm[layer],
                    participation_ratio=generic.participation_ratio[layer],
                    probe_dose=dose_at_level(PROBE_DOSES, curve, PROBE_LEVEL),
                    probe_curve=tuple(curve),
                )
            )
            if progress is not None:
                progress(layer + 1, model.layers)
        model.cache[key] = features
    found: list[LayerFeatures] = model.cache[key]
    return found


def dose_at_level(doses: Sequence[float], curve: Sequence[float], level: float) -> float | None:
    """First dose at which a curve reaches a level, interpolated in log t and log KL; None when never.

    Example:
        >>> round(dose_at_level([1.0, 4.0], [1.0, 4.0], 2.0), 6)
        2.0
    """
    for i, value in enumerate(curve):
        if value < level:
            continue
        if i == 0 or curve[i - 1] <= 0:
            return float(doses[i])
        share = (math.log(level) - math.log(curve[i - 1])) / (math.log(value) - math.log(curve[i - 1]))
        return math.exp(math.log(doses[i - 1]) + share * (math.log(doses[i]) - math.log(doses[i - 1])))
    return None


@dataclass(frozen=True)
class CeilingPrediction:
    """Every predictor's ceiling for one neuron on one branch.

    Attributes:
        neuron: The neuron.
        branch: +1 or −1.
        curve: Its curve on the branch.
        budget: B.
        budget_kind: plain, capped or routed.
        routed_share: Share of generic positions routed to its expert; None in a dense layer.
        residual_norm: ‖r_L‖.
        write_norm: ‖v‖ of the raw column.
        values: Ceiling by predictor; None where its feature is missing.
        default: The predictor that counts.
        in_sample: Whether the calibration was fitted on this very model.
    """

    neuron: Neuron
    branch: int
    curve: Curve
    budget: float
    budget_kind: BudgetKind
    routed_share: float | None
    residual_norm: float
    write_norm: float
    values: dict[str, PredictedCeiling | None]
    default: str
    in_sample: bool

    @property
    def cosine(self) -> float:
        """c0 on the branch."""
        return self.curve.cosine

    @property
    def plateau(self) -> float | None:
        """The coordinate that no dose passes; None without a norm after the FFN."""
        return self.curve.plateau

    def to_record(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "neuron": str(self.neuron),
            "curve": self.curve.to_json(),
            "cosine": self.cosine,
            "plateau": self.plateau,
        }


def predict_neuron(
    model: Model,
    neuron: Neuron,
    branch: int,
    generic: GenericPass,
    features: Sequence[LayerFeatures],
    calibration: Calibration | None = None,
) -> CeilingPrediction:
    """Every predictor's ceiling for one neuron on one branch.

    Raises:
        NeuronError: The neuron has no budget.
    """
    calibration = shipped_calibration() if calibration is None else calibration
    layer = features[neuron.layer]
    curve = generic.curve(model, neuron, branch)
    return CeilingPrediction(
        neuron=neuron,
        branch=branch,
        curve=curve,
        budget=generic.budget(model, neuron),
        budget_kind=generic.budget_kind(model, neuron),
        routed_share=generic.routed_share(model, neuron),
        residual_norm=layer.residual_norm,
        write_norm=float(raw_write(model, neuron).float().norm()),
        values={name: p.ceiling(layer.values(), curve) for name, p in calibration.predictors.items()},
        default=calibration.default,
        in_sample=calibration.in_sample(model.fingerprint),
    )
