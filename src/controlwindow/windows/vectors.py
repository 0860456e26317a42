"""Units of any residual vector: what a coefficient comes to as t and c, and where text is predicted to collapse.

The same curve as a neuron's without a norm between (method section 1): the vector enters behind the block. What the
ceiling predictors read of it are the features of a plain neuron that wrote this direction, with the layer's probe; they
were fitted on neurons, so a prediction for another vector is outside what they were fitted on (docs/units.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from controlwindow import geometry
from controlwindow.curves import SaturationCurve
from controlwindow.errors import OperationError, UsageError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model
from controlwindow.models.vectors import ResidualVector, read_vector
from controlwindow.windows.calibration import shipped_calibration
from controlwindow.windows.features import Subject, curve_limit
from controlwindow.windows.layer_features import LayerFeatures, layer_features

VectorLike = ResidualVector | torch.Tensor | str
"""A vector, a tensor, or FILE:LAYER."""


@dataclass(frozen=True)
class VectorUnits:
    """What a residual vector and a coefficient come to at a layer.

    Attributes:
        name: What the vector is called.
        layer: The block behind which it is added.
        coefficient: What the vector is multiplied by; its sign is the branch.
        branch: +1 or −1.
        norm: ‖v‖.
        residual_norm: ‖r_L‖, the median over generic text.
        budget: B = ‖r_L‖/‖v‖, the coefficient of t = 1.
        c0: Undosed cosine of the residual with the vector on the branch.
        t: |coefficient|/B.
        c: Control coordinate there.
        ceiling: Predicted c at which half of the rollouts have collapsed; None beyond the range.
        ceiling_interval: Its 90 % interval; an end beyond the range is None.
        ceiling_coefficient: The coefficient at the predicted ceiling, signed; None beyond the range.
        predictor: Which predictor that is.
        in_sample: Whether the predictor was fitted on this very model (on its neurons, not on this vector).
    """

    name: str
    layer: int
    coefficient: float
    branch: int
    norm: float
    residual_norm: float
    budget: float
    c0: float
    t: float
    c: float
    ceiling: float | None
    ceiling_interval: tuple[float | None, float | None]
    ceiling_coefficient: float | None
    predictor: str
    in_sample: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "ceiling_interval": list(self.ceiling_interval)}


def units(
    model: Model,
    vector: VectorLike,
    layer: int | None = None,
    coefficient: float = 1.0,
    *,
    generic: GenericPass | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VectorUnits:
    """Units of a residual vector: t, c, budget and predicted ceiling.

    Args:
        model: The model.
        vector: A tensor [d_model], a vector, or FILE:LAYER (safetensors, .npy, .npz, .pt, a GGUF control vector).
        layer: The block behind which it is added, from 0; None where the vector says.
        coefficient: What it is multiplied by; its sign is the branch.
        generic: A generic pass over other text than the model's own.
        progress: Called with layers probed and layers in all.

    Raises:
        UsageError: The vector does not fit the model, or a file cannot be read.
        OperationError: The coefficient is not finite.

    Example:
        >>> import torch, controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> found = cw.units(model, torch.randn(128), layer=3, coefficient=4.0)  # doctest: +SKIP
        >>> found.t, found.c  # doctest: +SKIP
    """
    held = vector_of(model, vector, layer)
    if not np.isfinite(coefficient):
        raise OperationError(f"a coefficient is finite, got {coefficient}")
    generic = generic_pass(model) if generic is None else generic
    layers = layer_features(model, generic, progress=progress)
    branch = -1 if coefficient < 0 else 1
    return _units(model, held, generic, layers, branch, coefficient)


def _units(
    model: Model,
    held: ResidualVector,
    generic: GenericPass,
    layers: list[LayerFeatures],
    branch: int,
    coefficient: float,
) -> VectorUnits:
    record = vector_prediction(model, held, branch, generic, layers)
    curve, budget = SaturationCurve(record["cosine"]), record["budget"]
    predicted = record["values"][record["default"]]
    t = abs(coefficient) / budget
    ceiling = None if predicted is None else predicted[0]
    reached = None if ceiling is None else branch * curve.dose(ceiling) * budget
    return VectorUnits(
        name=held.name,
        layer=held.layer,
        coefficient=float(coefficient),
        branch=branch,
        norm=record["write_norm"],
        residual_norm=record["residual_norm"],
        budget=budget,
        c0=record["cosine"],
        t=t,
        c=curve.coordinate(t),
        ceiling=ceiling,
        ceiling_interval=(None, None) if predicted is None else (predicted[1], predicted[2]),
        ceiling_coefficient=reached,
        predictor=record["default"],
        in_sample=record["in_sample"],
    )


def vector_of(model: Model, vector: VectorLike, layer: int | None = None) -> ResidualVector:
    """A vector that fits the model.

    Raises:
        UsageError: It has another width, no layer, or a layer that the model lacks; or it is zero or not finite.
    """
    if isinstance(vector, str):
        vector = read_vector(vector if layer is None else f"{vector}:{layer}")
    elif isinstance(vector, torch.Tensor):
        if layer is None:
            raise UsageError("a tensor does not say at which layer it is added", "give layer=")
        if vector.ndim != 1 or not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise UsageError(f"a residual vector is [d_model], finite and not zero, got {tuple(vector.shape)}")
        vector = ResidualVector(f"vector@{layer}", layer, vector.detach().float().cpu())
    elif layer is not None:
        vector = ResidualVector(vector.name, layer, vector.values, vector.source)
    if len(vector.values) != model.d_model:
        raise UsageError(
            f"{vector.name} has {len(vector.values)} values, and the residual stream of {model.name} has "
            f"{model.d_model}",
            "give a vector that was made for this model",
        )
    if not 0 <= vector.layer < model.layers:
        raise UsageError(
            f"{model.name} has no layer {vector.layer}", f"layers are counted from 0 to {model.layers - 1}"
        )
    return vector


def vector_curve(model: Model, held: ResidualVector, branch: int, generic: GenericPass) -> SaturationCurve:
    """The curve of a vector on a branch: plain in every family, since it enters behind any norm of the block."""
    unit = torch.nn.functional.normalize(held.values, dim=0)
    sample = generic.layers[held.layer].units
    if sample is None:
        # Under a norm after the FFN the pass keeps its parts; what a step along all of the text has in common stands
        # for the cosine there.
        cosine = float(text_statistics(model, generic).layers[held.layer].mean_cosines(unit[:, None].to(model.device)))
    else:
        cosine = float((sample.float() @ unit.to(sample.device)).median())
    return SaturationCurve(branch * cosine)


def vector_prediction(
    model: Model, held: ResidualVector, branch: int, generic: GenericPass, layers: list[LayerFeatures]
) -> dict[str, Any]:
    """A vector's predicted ceilings as a ledger keeps a neuron's (`CeilingPrediction.to_record`)."""
    calibration = shipped_calibration()
    statistics = text_statistics(model, generic)
    variation = statistics.layers[held.layer]
    column = held.values[:, None].to(model.device)
    curve = vector_curve(model, held, branch, generic)
    features: dict[str, float | None] = {
        **layers[held.layer].values(),
        "cosine": curve.cosine,
        "mean_cosine": branch * float(variation.mean_cosines(column)),
        "variance_share": float(variation.variance_shares(column)),
        "readout_spread": float(statistics.readout_spreads(column)),
    }
    subject = Subject(held.name, branch, held.layer, curve, features, curve_limit(curve))
    known = calibration.in_sample(model.fingerprint)
    values = {
        name: predictor.ceiling(subject, fingerprint=model.fingerprint)
        for name, predictor in calibration.predictors.items()
    }
    norm = float(held.values.norm())
    residual = generic.residual_norm[held.layer]
    return {
        "neuron": held.name,
        "branch": branch,
        "curve": curve.to_json(),
        "cosine": curve.cosine,
        "plateau": None,
        "budget": geometry.budget(residual, norm),
        "budget_kind": "plain",
        "routed_share": None,
        "residual_norm": residual,
        "write_norm": norm,
        "values": {name: None if v is None else list(v) for name, v in values.items()},
        "default": calibration.default_for("1/2", known=known),
        "in_sample": known,
    }
