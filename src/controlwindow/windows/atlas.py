"""The atlas: predicted ceilings of every neuron at once, from one generic pass and one streaming read of the weights.

Layer by layer, all neurons in a few matrix products; no neuron becomes an object of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

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
from controlwindow.models.model import require_model
from controlwindow.models.neuron_files import named_neurons
from controlwindow.windows.calibration import Calibration, shipped_calibration
from controlwindow.windows.features import Tier, neuron_features, opposite_features
from controlwindow.windows.layer_features import LayerFeatures, layer_features
from controlwindow.windows.predictors import Subjects

TIERS: dict[bool, Tier] = {False: "0", True: "1/2"}
"""Tier of an atlas (method section 2), without and with probe passes."""


def predict_ceilings(
    model: Model,
    neurons: Iterable[Neuron | str] | Neuron | str | None = None,
    *,
    probe: bool = False,
    generic: GenericPass | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Predicted ceilings of neurons on both branches, without a rollout of any of them (the atlas).

    Args:
        model: The model.
        neurons: Which, or which one; None for every FFN neuron.
        probe: Also dose random directions of every layer (tier ½), so that the calibration's default predictor counts;
            without it (tier 0) the best one that needs no probe does.
        generic: A generic pass over other text than the model's own (`generic_pass(model, prompts, length)`).
        progress: Called with layers done and layers in all.

    Returns:
        One row per neuron and branch, in the model's order of neurons (in the order given within a layer): neuron,
        layer, expert (null outside routed experts), index, branch, c0, residual_norm, write_norm, budget, budget_kind,
        plateau (null where nothing caps), routed_share (null in a dense layer), ceiling_predicted with ceiling_low and
        ceiling_high (90 %), reachable, probability_not_reached, t_predicted, one column per predictor, the predictor's
        name, tier, in_sample.

        A ceiling beyond the range, or beyond what a plateau leaves of it, is null with `reachable` false: no dose that
        a search tries collapses the text. Where nothing is predicted (the write vanishes, the expert was never routed
        to) `reachable` is null too.

    Raises:
        NeuronError: A neuron lies outside the model.
        UsageError: The list of neurons is empty.
    """
    require_model(model)
    generic = generic_pass(model) if generic is None else generic
    named = None if neurons is None else [model.require(neuron) for neuron in named_neurons(neurons)]
    features = layer_features(
        model,
        generic,
        probe=probe,
        wanted={neuron.layer for neuron in named or ()},
        progress=progress if probe else None,
    )
    calibration = shipped_calibration()
    wanted: dict[int, list[int] | None] = dict.fromkeys(range(model.layers))
    if named is not None:
        wanted = {}
        for neuron in named:
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
        predictor=pl.lit(calibration.default_for(TIERS[probe], known=calibration.in_sample(model.fingerprint))),
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
    own = neuron_features(model, generic, layer, columns)
    chosen = calibration.default_for(TIERS[probed], known=calibration.in_sample(model.fingerprint))
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
                **_ceilings(
                    _subjects(layer, on_branch, features, read),
                    on_branch,
                    budgets,
                    calibration,
                    chosen,
                    model.fingerprint,
                ),
            }
        )
        for branch, on_branch, read in ((1, curves, own), (-1, curves.opposite(), opposite_features(own)))
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
            "probability_not_reached", "t_predicted", *calibration.predictors,
        )
    )  # fmt: skip


def _ceilings(
    subjects: Subjects, curves: LayerCurves, budgets: Floats, calibration: Calibration, chosen: str, fingerprint: str
) -> dict[str, Floats | NDArray[np.bool_]]:
    """Columns of every predictor, and those of the one that counts; NaN where there is no ceiling."""
    usable = np.isfinite(budgets)
    tables = {name: predictor.table(subjects, fingerprint) for name, predictor in calibration.predictors.items()}
    found: dict[str, Floats | NDArray[np.bool_]] = {
        name: np.where(usable, table["value"], np.nan) for name, table in tables.items()
    }
    table = {name: np.where(usable, values, np.nan) for name, values in tables[chosen].items()}
    found |= {
        "ceiling_predicted": table["value"],
        "ceiling_low": table["low"],
        "ceiling_high": table["high"],
        "probability_not_reached": table["not_reached"],
        "t_predicted": curves.rising_doses(np.maximum(table["value"], curves.cosines)),
        "predicted": np.isfinite(table["not_reached"]),
    }
    return found


def _subjects(layer: int, curves: LayerCurves, features: LayerFeatures, own: Mapping[str, Floats]) -> Subjects:
    """A layer's neurons on one branch as predictors read them."""
    count = len(curves.cosines)
    shared = {name: np.full(count, math.nan if value is None else value) for name, value in features.values().items()}
    return Subjects(
        values={**shared, **own},
        cosines=curves.cosines,
        limits=curves.coordinates(geometry.dose_for(geometry.RANGE_END)),
        layers=[layer] * count,
        behaviors=[None] * count,
    )
