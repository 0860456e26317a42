"""What predictors read of a layer: statistics of generic text (tier 0), and probes of random directions (tier ½)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.probes import response_curve
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model
from controlwindow.models.kept import kept

PROBE_LEVEL = 2.0
"""Mean KL in nats at which the probe curve is read (method section 2), and above which no dose is run."""

PROBE_DOSES: tuple[float, ...] = (0.25, 0.4, 0.6, 0.85, 1.2, 1.7, 2.4, 3.6, 5.4)
"""Doses of the probe curve, evenly spaced in log t; a curve that is below the level at the last one has no point."""

_SHALLOW, _SPREAD = 12, 6
"""A model of so many layers is probed in all of them; a deeper one in so many, and in those asked for."""

Remember = Callable[[int, Callable[[], list[list[float]]]], list[list[float]]]


class ProbeDoses(NamedTuple):
    """Doses t at which random directions of a layer reach a level; None where never in range.

    Attributes:
        probe_dose_half: Mean KL of a quarter of `PROBE_LEVEL`, ½ nat.
        probe_dose_1: Mean KL of half of it, 1 nat.
        probe_dose: Mean KL of `PROBE_LEVEL`.
        surprise_dose: Mean surprise of `PROBE_LEVEL`.
    """

    probe_dose_half: float | None
    probe_dose_1: float | None
    probe_dose: float | None
    surprise_dose: float | None


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
        between: What the probes of other layers make of one that was not probed.
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
    between: ProbeDoses | None = None

    @property
    def probe_doses(self) -> ProbeDoses | None:
        """Doses read off the probe, or interpolated; None when not probed."""
        if not self.probe_curve:
            return self.between
        return ProbeDoses(
            probe_dose_half=dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL / 4),
            probe_dose_1=dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL / 2),
            probe_dose=dose_at_level(PROBE_DOSES, self.probe_curve, PROBE_LEVEL),
            surprise_dose=dose_at_level(PROBE_DOSES, self.probe_surprise, PROBE_LEVEL),
        )

    @property
    def probe_dose(self) -> float | None:
        """t at which random directions reach `PROBE_LEVEL`; None when never in range, or not probed."""
        return None if self.probe_doses is None else self.probe_doses.probe_dose

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
        doses = self.probe_doses
        return known if doses is None else known | doses._asdict()


def features_from_record(record: Mapping[str, Any]) -> LayerFeatures:
    """Read a ledger's record of a layer, `asdict` of its features."""
    # Every layer was probed before there was anything between them.
    named: dict[str, Any] = {f.name: record[f.name] for f in fields(LayerFeatures) if f.name in record}
    curves = {name: tuple(named[name]) for name in ("probe_curve", "probe_surprise")}
    between = None if named.get("between") is None else ProbeDoses(*named["between"])
    return LayerFeatures(**{**named, **curves, "between": between})


def layer_features(
    model: Model,
    generic: GenericPass | None = None,
    *,
    probe: bool = True,
    wanted: Iterable[int] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    remember: Remember | None = None,
) -> list[LayerFeatures]:
    """Features of every layer; what was probed is kept with the model.

    Of a deep model the layers asked for are probed, and some spread over its depth; what the others would give is
    interpolated between them (`interpolation_error` says how well).

    Args:
        model: The model.
        generic: Its generic pass; default the model's own.
        probe: Whether to run the probe passes (tier ½). Without them only what the generic pass knows (tier 0).
        wanted: Layers that are to be probed themselves.
        seed: Seed of the probe's random directions.
        progress: Called with layers done and layers in all.
        remember: Where a layer's probe pass is looked up, and kept as soon as it is done: given the layer and what
            computes it, gives its responses.
    """
    generic = generic_pass(model) if generic is None else generic
    statistics = text_statistics(model, generic)
    probed = sorted({*spread_layers(model.layers), *wanted}) if probe else []
    curves: dict[int, list[list[float]]] = {}
    for layer in probed:
        key = ("probe pass", generic.prompts, generic.token_ids, layer, seed)

        def responded(layer: int = layer, key: Any = key) -> list[list[float]]:
            def run() -> list[list[float]]:
                found = response_curve(model, generic, layer, PROBE_DOSES, seed=seed, stop_above=PROBE_LEVEL)
                return [[response.divergence, response.surprise] for response in found]

            found: list[list[float]] = kept(model, key, run)
            return found

        curves[layer] = responded() if remember is None else remember(layer, responded)
        if progress is not None:
            progress(len(curves), len(probed))
    features = [
        LayerFeatures(
            layer=layer,
            depth=layer / max(model.layers - 1, 1),
            residual_norm=generic.residual_norm[layer],
            norm_growth=generic.residual_norm[-1] / generic.residual_norm[layer],
            participation_ratio=generic.participation_ratio[layer],
            common_share=statistics.layers[layer].common_share,
            entropy=statistics.entropy,
            margin=statistics.margin,
            probe_curve=tuple(divergence for divergence, _ in curves.get(layer, ())),
            probe_surprise=tuple(surprise for _, surprise in curves.get(layer, ())),
        )
        for layer in range(model.layers)
    ]
    if not probed:
        return features
    return [
        layer if layer.probe_curve else replace(layer, between=_between(features, layer.layer)) for layer in features
    ]


def spread_layers(layers: int) -> list[int]:
    """The layers of a model that are probed whatever neurons are asked for: all of a shallow one, else some.

    Example:
        >>> spread_layers(30)
        [0, 6, 12, 17, 23, 29]
    """
    if layers <= _SHALLOW:
        return list(range(layers))
    return [round(layer) for layer in np.linspace(0, layers - 1, _SPREAD)]


def interpolation_error(features: Sequence[LayerFeatures]) -> float | None:
    """How well probes of other layers stand for a layer's own, as a factor in t: mean of |log t̂ − log t|.

    Every probed layer but the first and last is left out in turn.

    Args:
        features: Of every layer.

    Returns:
        The error of `probe_dose_1`; None with fewer than three probed layers that reach it.
    """
    errors = []
    for layer in features:
        own = layer.probe_doses
        if not layer.probe_curve or own is None or own.probe_dose_1 is None:
            continue
        others = [f for f in features if f.layer != layer.layer]
        if not _around(others, layer.layer):
            continue
        found = _between(others, layer.layer).probe_dose_1
        if found is not None:
            errors.append(abs(math.log(found) - math.log(own.probe_dose_1)))
    return sum(errors) / len(errors) if errors else None


def _around(features: Sequence[LayerFeatures], layer: int) -> bool:
    probed = [f.layer for f in features if f.probe_curve]
    return bool(probed) and min(probed) < layer < max(probed)


def _between(features: Sequence[LayerFeatures], layer: int) -> ProbeDoses:
    """Doses of a layer between probed ones, linear in log t over layers; None where a neighbour has none."""
    found: list[float | None] = []
    probed = [f for f in features if f.probe_curve]
    below = max((f for f in probed if f.layer < layer), key=lambda f: f.layer)
    above = min((f for f in probed if f.layer > layer), key=lambda f: f.layer)
    share = (layer - below.layer) / (above.layer - below.layer)
    assert below.probe_doses is not None
    assert above.probe_doses is not None
    for low, high in zip(below.probe_doses, above.probe_doses, strict=True):
        if low is None or high is None:
            found.append(None)
        else:
            found.append(math.exp((1 - share) * math.log(low) + share * math.log(high)))
    return ProbeDoses(*found)


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
