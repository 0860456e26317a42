"""Predicted ceilings of single neurons: from weights, one generic pass and teacher-forced passes; no rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from controlwindow.curves import Curve
from controlwindow.instruments.generic import BudgetKind, GenericPass
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write
from controlwindow.windows.calibration import Calibration, shipped_calibration
from controlwindow.windows.features import Pair, Subject, Tier, subjects_of
from controlwindow.windows.layer_features import LayerFeatures
from controlwindow.windows.predictors import PredictedCeiling


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
        subject: What the predictors read of it.
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
    subject: Subject
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
            "subject": self.subject.to_json(),
            "cosine": self.cosine,
            "plateau": self.plateau,
        }


def predict_neurons(
    model: Model,
    pairs: Sequence[Pair],
    generic: GenericPass,
    layers: Sequence[LayerFeatures],
    calibration: Calibration | None = None,
    *,
    tier: Tier = "1",
    behavior: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[CeilingPrediction]:
    """Every predictor's ceiling for some neurons on their branches.

    Args:
        model: The model.
        pairs: Neurons and branches; at tier 1 all at once is much faster than one by one.
        generic: The model's generic pass.
        layers: Features of every layer, probed unless the tier is "0".
        calibration: The fitted predictors; default those that ship.
        tier: What the predictors may read.
        behavior: The behavior whose prompts will be dosed, for models that the calibration knows.
        progress: Called with dosed rows done and rows in all.

    Raises:
        NeuronError: A neuron has no budget.
    """
    calibration = shipped_calibration() if calibration is None else calibration
    budgets = [generic.budget(model, neuron) for neuron, _ in pairs]
    subjects = subjects_of(model, pairs, generic, tier=tier, layers=layers, progress=progress)
    known = calibration.in_sample(model.fingerprint)
    found = []
    for (neuron, branch), budget, subject in zip(pairs, budgets, subjects, strict=True):
        values = {
            name: predictor.ceiling(subject, fingerprint=model.fingerprint, behavior=behavior)
            for name, predictor in calibration.predictors.items()
        }
        found.append(
            CeilingPrediction(
                neuron=neuron,
                branch=branch,
                curve=subject.curve,
                budget=budget,
                budget_kind=generic.budget_kind(model, neuron),
                routed_share=generic.routed_share(model, neuron),
                residual_norm=layers[neuron.layer].residual_norm,
                write_norm=float(raw_write(model, neuron).float().norm()),
                subject=subject,
                values=values,
                default=calibration.default_for(tier, known=known),
                in_sample=known,
            )
        )
    return found
