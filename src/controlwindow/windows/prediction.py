"""Predicted ceilings: from weights, one generic pass and a few probe passes per layer; no rollout of any neuron."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.probes import divergence_curve
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_norms
from controlwindow.windows.calibration import Calibration, shipped_calibration

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
        probe_dose: t at which random directions reach `PROBE_LEVEL`; None when never in range.
        probe_curve: Mean KL at `PROBE_DOSES`, up to the first above the level.
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
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerFeatures]:
    """Features of every layer; kept with the model.

    Args:
        model: The model.
        generic: Its generic pass; default the model's own.
        seed: Seed of the probe's random directions.
        progress: Called with layers done and layers in all.
    """
    generic = generic_pass(model) if generic is None else generic
    key = ("layer_features", generic.prompts, generic.positions, seed)
    if key not in model.cache:
        features = []
        for layer in range(model.layers):
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
        cosine: c0 on the branch.
        budget: B.
        residual_norm: ‖r_L‖.
        write_norm: ‖v‖.
        values: (c, low, high) by predictor; None where its feature is missing.
        default: The predictor that counts.
        in_sample: Whether the calibration was fitted on this very model.
    """

    neuron: Neuron
    branch: int
    cosine: float
    budget: float
    residual_norm: float
    write_norm: float
    values: dict[str, tuple[float, float, float] | None]
    default: str
    in_sample: bool


def predict_neuron(
    model: Model,
    neuron: Neuron,
    branch: int,
    generic: GenericPass,
    features: Sequence[LayerFeatures],
    calibration: Calibration | None = None,
) -> CeilingPrediction:
    """Every predictor's ceiling for one neuron on one branch."""
    calibration = shipped_calibration() if calibration is None else calibration
    layer = features[neuron.layer]
    cosine = generic.cosine(model, neuron, branch)
    budget = generic.budget(model, neuron)
    return CeilingPrediction(
        neuron=neuron,
        branch=branch,
        cosine=cosine,
        budget=budget,
        residual_norm=layer.residual_norm,
        write_norm=layer.residual_norm / budget,
        values={name: p.ceiling(layer.values(), cosine) for name, p in calibration.predictors.items()},
        default=calibration.default,
        in_sample=calibration.in_sample(model.fingerprint),
    )


def predict_ceilings(
    model: Model, neurons: Iterable[Neuron | str] | None = None, *, progress: Callable[[int, int], None] | None = None
) -> pl.DataFrame:
    """Predicted ceilings of neurons on both branches, without a rollout of any of them (the atlas).

    Args:
        model: The model.
        neurons: Which; None for every FFN neuron.
        progress: Called with layers done and layers in all.

    Returns:
        One row per neuron and branch: neuron, layer, index, branch, c0, residual_norm, write_norm, budget,
        ceiling_predicted with ceiling_low and ceiling_high (90 %), t_predicted, the predictor's name, in_sample, and
        one column per predictor. A neuron whose write vanishes has null predictions.

    Raises:
        NeuronError: A neuron lies outside the model.
        UsageError: The list of neurons is empty.
    """
    generic = generic_pass(model)
    features = layer_features(model, generic, progress=progress)
    calibration = shipped_calibration()
    wanted: dict[int, list[int]] = {}
    for neuron in model.neurons if neurons is None else [model.require(n) for n in neurons]:
        wanted.setdefault(neuron.layer, []).append(neuron.index)
    if not wanted:
        raise UsageError("no neurons were given", "name some, or leave them out for every FFN neuron")
    frames = [
        _layer_frame(model, layer, indices, generic, features[layer], calibration)
        for layer, indices in sorted(wanted.items())
    ]
    in_sample = calibration.in_sample(model.fingerprint)
    return pl.concat(frames).with_columns(
        predictor=pl.lit(calibration.default), in_sample=pl.lit(in_sample, dtype=pl.Boolean)
    )


def _layer_frame(
    model: Model,
    layer: int,
    indices: Sequence[int],
    generic: GenericPass,
    features: LayerFeatures,
    calibration: Calibration,
) -> pl.DataFrame:
    norms = write_norms(model, layer)[list(indices)].cpu().double().numpy()
    cosines = generic.cosines(model, layer)[list(indices)].double().numpy()
    base = pl.DataFrame(
        {
            "neuron": [str(Neuron(layer, index)) for index in indices],
            "layer": [layer] * len(indices),
            "index": list(indices),
            "cosine": cosines,
            "residual_norm": [features.residual_norm] * len(indices),
            "write_norm": norms,
        }
    )
    branches = pl.DataFrame({"branch": [1, -1]})
    writes = pl.col("write_norm") > 0
    frame = base.join(branches, how="cross").with_columns(
        c0=pl.col("cosine") * pl.col("branch"),
        budget=pl.when(writes).then(pl.col("residual_norm") / pl.col("write_norm")),
    )
    for name, predictor in calibration.predictors.items():
        t = predictor.dose(features.values())
        frame = frame.with_columns(pl.when(writes).then(_curve(t)).alias(name))
        if name == calibration.default:
            low, high = predictor.residuals
            frame = frame.with_columns(
                t_predicted=pl.when(writes).then(pl.lit(t, dtype=pl.Float64)),
                ceiling_predicted=pl.when(writes).then(_curve(t)),
                ceiling_low=pl.when(writes).then(_curve(None if t is None else t * math.exp(low))),
                ceiling_high=pl.when(writes).then(_curve(None if t is None else t * math.exp(high))),
            )
    return frame.select(
        "neuron", "layer", "index", "branch", "c0", "residual_norm", "write_norm", "budget", "ceiling_predicted",
        "ceiling_low", "ceiling_high", "t_predicted", *calibration.predictors,
    )  # fmt: skip


def _curve(t: float | None) -> pl.Expr:
    """The saturation curve at one dose for a column of c0 (geometry.control_coordinate, as an expression)."""
    if t is None:
        return pl.lit(None, dtype=pl.Float64)
    return (pl.col("c0") + t) / (1 + 2 * t * pl.col("c0") + t * t).sqrt()
