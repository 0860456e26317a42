"""The atlas: predicted ceilings of every neuron at once, from one generic pass and one streaming read of the weights.

Layer by layer, all neurons in a few matrix products; no neuron becomes an object of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors as cs

from controlwindow import geometry
from controlwindow.curves import Floats, LayerCurves
from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_norms
from controlwindow.windows.calibration import Calibration, shipped_calibration
from controlwindow.windows.layer_features import LayerFeatures, layer_features

TIERS = {False: "0", True: "1/2"}
"""Tier of an atlas (method section 2), without and with probe passes."""


def predict_ceilings(
    model: Model,
    neurons: Iterable[Neuron | str] | None = None,
    *,
    probe: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Predicted ceilings of neurons on both branches, without a rollout of any of them (the atlas).

    Args:
        model: The model.
        neurons: Which; None for every FFN neuron.
        probe: Also dose random directions of every layer (tier ½), so that the calibration's default predictor counts;
            without it (tier 0) the best one that needs no probe does.
        progress: Called with layers done and layers in all.

    Returns:
        One row per neuron and branch, in the model's order of neurons (in the order given within a layer): neuron,
        layer, expert (null outside routed experts), index, branch, c0, residual_norm, write_norm, budget, budget_kind,
        plateau (null where nothing caps), routed_share (null in a dense layer), ceiling_predicted with ceiling_low and
        ceiling_high (90 %), reachable, t_predicted, one column per predictor, the predictor's name, tier, in_sample.

        A ceiling at or above the plateau is null with `reachable` false: no dose collapses the text. Where nothing is
        predicted (the write vanishes, the expert was never routed to, a probe without a level) `reachable` is null too.

    Raises:
        NeuronError: A neuron lies outside the model.
        UsageError: The list of neurons is empty.
    """
    generic = generic_pass(model)
    features = layer_features(model, generic, probe=probe, progress=progress if probe else None)
    calibration = shipped_calibration()
    wanted: dict[int, list[int] | None] = dict.fromkeys(range(model.layers))
    if neurons is not None:
        wanted = {}
        for neuron in map(model.require, neurons):
            chosen = wanted.setdefault(neuron.layer, [])
            assert chosen is not None
            chosen.append(model.neurons.column(neuron))
        if not wanted:
            raise UsageError("no neurons were given", "name some, or leave them out for every FFN neuron")
    frames = []
    for layer, columns in sorted(wanted.items()):
        frames.append(_layer_frame(model, layer, columns, generic, features[layer], calibration, probe))
        if progress is not None and not probe:
            progress(len(frames), len(wanted))
    return pl.concat(frames).with_columns(
        predictor=pl.lit(calibration.default_for(probed=probe)),
        tier=pl.lit(TIERS[probe]),
        in_sample=pl.lit(calibration.in_sample(model.fingerprint)),
    )


def _layer_frame(
    model: Model,
    layer: int,
    columns: list[int] | None,
    generic: GenericPass,
    features: LayerFeatures,
    calibration: Calibration,
    probed: bool,
) -> pl.DataFrame:
    shape = model.neurons.shapes[layer]
    place = np.arange(shape.total) if columns is None else np.array(columns)
    lengths = write_norms(model, layer)
    curves = generic.curves(model, layer, columns, lengths)
    budgets = generic.budgets(model, layer, lengths)[place]
    norms = lengths.double().cpu().numpy()[place]
    shares = generic.routed_shares(model, layer)
    values = features.values()
    branches = [
        pl.DataFrame(
            {
                "place": np.arange(len(place)),
                "column": place,
                "branch": branch,
                "c0": on_branch.cosines,
                "write_norm": norms,
                "budget": budgets,
                "budget_kind": generic.budget_kinds(model, layer)[place],
                "plateau": np.full(len(place), np.nan) if on_branch.plateaus is None else on_branch.plateaus,
                "routed_share": np.full(len(place), np.nan) if shares is None else shares[place],
                **_ceilings(on_branch, budgets, values, calibration, calibration.default_for(probed=probed)),
            }
        )
        for branch, on_branch in ((1, curves), (-1, curves.opposite()))
    ]
    routed = pl.col("column") < shape.routed
    width = max(shape.expert_width, 1)
    return (
        pl.concat(branches)
        .sort("place", "branch", descending=[False, True])
        .with_columns(cs.float().fill_nan(None))
        .with_columns(
            layer=pl.lit(layer),
            residual_norm=pl.lit(features.residual_norm),
            expert=pl.when(routed).then(pl.col("column") // width),
            index=pl.when(routed).then(pl.col("column") % width).otherwise(pl.col("column") - shape.routed),
        )
        .with_columns(
            neuron=pl.when(routed)
            .then(pl.format("L{}.E{}.N{}", pl.lit(layer), "expert", "index"))
            .otherwise(pl.format("L{}.N{}", pl.lit(layer), "index")),
            reachable=pl.when("predicted").then(pl.col("ceiling_predicted").is_not_null()),
        )
        .select(
            "neuron", "layer", "expert", "index", "branch", "c0", "residual_norm", "write_norm", "budget",
            "budget_kind", "plateau", "routed_share", "ceiling_predicted", "ceiling_low", "ceiling_high", "reachable",
            "t_predicted", *calibration.predictors,
        )
    )  # fmt: skip


def _ceilings(
    curves: LayerCurves, budgets: Floats, features: dict[str, float | None], calibration: Calibration, chosen: str
) -> dict[str, Floats | NDArray[np.bool_]]:
    """Columns of every predictor, and those of the one that counts; NaN where there is no ceiling."""
    found: dict[str, Floats | NDArray[np.bool_]] = {}
    for name, predictor in calibration.predictors.items():
        found[name] = _reached(curves, budgets, predictor.dose(features))
    predictor = calibration.predictors[chosen]
    t = predictor.dose(features)
    low, high = (None if t is None else t * math.exp(residual) for residual in predictor.residuals)
    reached = _reached(curves, budgets, t)
    found["ceiling_predicted"], found["t_predicted"] = reached, curves.rising_doses(reached)
    found["ceiling_low"], found["ceiling_high"] = _reached(curves, budgets, low), _reached(curves, budgets, high)
    found["predicted"] = np.isfinite(budgets) & (t is not None)
    return found


def _reached(curves: LayerCurves, budgets: Floats, dose: float | None) -> Floats:
    """c* = c(t*; c0) of every neuron, [neurons]; NaN without a prediction or a budget, and from the plateau on."""
    if dose is None:
        return np.full(len(budgets), np.nan)
    coordinates = np.asarray(geometry.control_coordinate(dose, curves.cosines))
    plateaus = curves.plateaus
    reached = np.isfinite(budgets) if plateaus is None else np.isfinite(budgets) & (coordinates < plateaus)
    return np.where(reached, coordinates, np.nan)
