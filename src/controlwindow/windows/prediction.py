"""Predicted ceilings of single neurons: from weights, one generic pass and probe passes per layer; no rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from controlwindow.curves import Curve
from controlwindow.instruments.generic import BudgetKind, GenericPass
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write
from controlwindow.windows.calibration import Calibration, PredictedCeiling, shipped_calibration
from controlwindow.windows.layer_features import LayerFeatures

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
