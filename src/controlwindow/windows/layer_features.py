"""What predictors read of a layer: statistics of generic text (tier 0), and probes of random directions (tier ½)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.probes import response_curve
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model

PROBE_LEVEL = 2.0
"""Mean KL in nats at which the probe curve is read (method section 2), and above which no dose is run."""

PROBE_DOSES: tuple[float, ...] = (0.25, 0.4, 0.6, 0.85, 1.2, 1.7, 2.4, 3.6, 5.4)
"""Doses of the probe curve, evenly spaced in log t; a curve that is below the level at the last one has no point."""


Remember = Callable[[int, Callable[[], list[list[float]]]], list[list[float]]]


@dataclass(frozen=True)
class LayerFeatures:
    """What the predictors read of one layer.

    Attributes:
        layer: The layer.
        depth: The layer's place, 0 for the first and 1 for the last.
        residual_norm: Median ‖r_L‖ of the generic pass.
        norm_growth: Median ‖r‖ of the last layer over that of this one: how much later layers write beside a dose.
        participation_ratio: PR of the generic pass.
        common_share: ‖mean r‖²/E‖r‖², the share of the residual that all positions have in common.
        entropy: Mean entropy of the model's next-token distribution on generic text, nats.
        margin: Mean gap between its two largest logits.
        probe_curve: Mean KL at `PROBE_DOSES`, up to the first above the level; empty when not probed.
        probe_surprise: Mean surprise of the dosed first choices at the same doses.
    """

    layer: int
    depth: float
    residual_norm: float
    norm_growth: float
    participation_ratio: float
    common_share: float
    entropy: float
    margin: float
    probe_curve: tuple[float, ...] = ()
    probe_surprise: tuple[float, ...] = ()

    @property
    def probe_dose(self) -> float | None:
        """t at which random directions reach `PROBE_LEVEL`; None when never in range, or not probed."""
        return dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL)

    def values(self) -> dict[str, float | None]:
        """The features by the names that predictors use; those of the probe only where there was one."""
        known: dict[str, float | None] = {
            "depth": self.depth,
            "norm_growth": self.norm_growth,
            "participation_ratio": self.participation_ratio,
            "common_share": self.common_share,
            "entropy": self.entropy,
            "margin": self.margin,
        }
        if self.probe_curve:
            known |= {
                "probe_dose_half": dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL / 4),
                "probe_dose_1": dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL / 2),
                "probe_dose": self.probe_dose,
                "surprise_dose": dose_at_level(PROBE_DOSES, self.probe_surprise, PROBE_LEVEL),
            }
        return known


def features_from_record(record: Mapping[str, Any]) -> LayerFeatures:
    """Read a ledger's record of a layer, `asdict` of its features."""
    named: dict[str, Any] = {field.name: record[field.name] for field in fields(LayerFeatures)}
    curves = {name: tuple(named[name]) for name in ("probe_curve", "probe_surprise")}
    return LayerFeatures(**{**named, **curves})


def layer_features(
    model: Model,
    generic: GenericPass | None = None,
    *,
    probe: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    remember: Remember | None = None,
) -> list[LayerFeatures]:
    """Features of every layer; kept with the model.

    Args:
        model: The model.
        generic: Its generic pass; default the model's own.
        probe: Whether to run the probe passes (tier ½). Without them only what the generic pass knows (tier 0).
        seed: Seed of the probe's random directions.
        progress: Called with layers done and layers in all.
        remember: Where a layer's probe pass is looked up, and kept as soon as it is done: given the layer and what
            computes it, gives its responses.
    """
    generic = generic_pass(model) if generic is None else generic
    key = ("layer_features", generic.prompts, generic.token_ids, seed if probe else None)
    if key not in model.cache:
        statistics = text_statistics(model, generic)
        features = []
        for layer in range(model.layers):

            def responded(layer: int = layer) -> list[list[float]]:
                found = response_curve(model, generic, layer, PROBE_DOSES, seed=seed, stop_above=PROBE_LEVEL)
                return [[response.divergence, response.surprise] for response in found]

            responses: list[list[float]] = []
            if probe:
                responses = responded() if remember is None else remember(layer, responded)
            features.append(
                LayerFeatures(
                    layer=layer,
                    depth=layer / max(model.layers - 1, 1),
                    residual_norm=generic.residual_norm[layer],
                    norm_growth=generic.residual_norm[-1] / generic.residual_norm[layer],
                    participation_ratio=generic.participation_ratio[layer],
                    common_share=statistics.layers[layer].common_share,
                    entropy=statistics.entropy,
                    margin=statistics.margin,
                    probe_curve=tuple(divergence for divergence, _ in responses),
                    probe_surprise=tuple(surprise for _, surprise in responses),
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
