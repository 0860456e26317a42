"""What predictors read of a neuron on a branch, before any rollout of it.

Tier 0 is the generic pass and the weights, tier ½ adds the layer's probe of random directions, and tier 1 teacher-
forced passes of the dosed neuron over the first generic answers: two doses for what it does to the next token, one of
them for how far it propagates. All of tier 1 is ours (method section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from controlwindow import geometry
from controlwindow.curves import Curve, Floats, SaturationCurve, curve_from_json
from controlwindow.errors import UsageError
from controlwindow.instruments.dosing import CAPPED_DOSE, limit_directions
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.operations import Add
from controlwindow.instruments.probes import is_thinned, propagation
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model, Neuron
from controlwindow.windows.layer_features import LayerFeatures, layer_features

Tier = Literal["0", "1/2", "1"]
TIERS: tuple[Tier, ...] = ("0", "1/2", "1")

Pair = tuple[Neuron, int]
"""A neuron and a branch."""

DOSES = (0.5, 1.0)
"""Doses of the teacher-forced passes, in t on the plain curve; under a cap those that give the same coordinate."""

TEXTS = 6
"""Generic answers that a dosed pass runs over, as many as the probe's."""

OWN_LEVEL = 1.0
"""Mean KL in nats at which a neuron's own response is read, between its two doses or beyond them."""

_FURTHEST = (0.05, 20.0)
"""Doses between which a neuron's own response is read; what lies outside is not told apart."""

_SIGNED = frozenset({"cosine", "mean_cosine"})
"""Features that change their sign with the branch."""


@dataclass(frozen=True)
class Subject:
    """Everything a prediction needs to know of a neuron on a branch.

    Attributes:
        neuron: Its name.
        branch: +1 or −1.
        layer: Its layer.
        curve: Its curve on the branch.
        features: By name; None where a feature is missing.
        limit: The largest c that a search asks for: the end of the range, or what a cap leaves of it.
        propagation: 1 − cos²(Δr_last, v) of the larger dosed pass; None below tier 1, or where nothing moved.
    """

    neuron: str
    branch: int
    layer: int
    curve: Curve
    features: dict[str, float | None]
    limit: float
    propagation: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {**asdict(self), "curve": self.curve.to_json()}


def subject_from_json(values: Mapping[str, Any]) -> Subject:
    """Read `Subject.to_json`."""
    return Subject(**{**values, "curve": curve_from_json(values["curve"]), "features": dict(values["features"])})


def subjects_of(
    model: Model,
    pairs: Sequence[Pair],
    generic: GenericPass | None = None,
    *,
    tier: Tier = "1",
    layers: Sequence[LayerFeatures] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Subject]:
    """What predictors read of some neurons on their branches; all at once is much faster than one by one.

    Args:
        model: The model.
        pairs: Neurons and branches.
        generic: The model's generic pass; default its own.
        tier: "0", "1/2" or "1".
        layers: Features of every layer, where they are at hand.
        seed: Seed of the probe's random directions.
        progress: Called with dosed rows done and rows in all, or with layers where no neuron is dosed.

    Returns:
        One subject for each pair, in their order.

    Raises:
        NeuronError: A neuron lies outside the model, or has no budget to be dosed with (tier 1).
        UsageError: The tier is unknown.
    """
    if tier not in TIERS:
        raise UsageError(f"unknown tier {tier!r}", f"use one of {', '.join(TIERS)}")
    generic = generic_pass(model) if generic is None else generic
    named = [(model.require(neuron), branch) for neuron, branch in pairs]
    if layers is None:
        layers = layer_features(
            model,
            generic,
            probe=tier != "0",
            wanted={neuron.layer for neuron, _ in named},
            seed=seed,
            progress=progress if tier == "1/2" else None,
        )
    columns: dict[int, list[int]] = {}
    for neuron, _ in named:
        columns.setdefault(neuron.layer, []).append(model.neurons.column(neuron))
    static = {layer: neuron_features(model, generic, layer, chosen) for layer, chosen in columns.items()}
    places: dict[int, int] = dict.fromkeys(columns, 0)
    curves = {pair: generic.curve(model, *pair) for pair in named}
    dosed: Mapping[Pair, dict[str, float | None]] = {}
    moved: Mapping[Pair, float | None] = {}
    if tier == "1":
        dosed, moved = _dosed_features(model, generic, curves, progress)
    found = []
    for neuron, branch in named:
        place = places[neuron.layer]
        places[neuron.layer] += 1
        own = {
            name: float(values[place]) * (branch if name in _SIGNED else 1)
            for name, values in static[neuron.layer].items()
        }
        curve = curves[neuron, branch]
        found.append(
            Subject(
                neuron=str(neuron),
                branch=branch,
                layer=neuron.layer,
                curve=curve,
                features={**layers[neuron.layer].values(), **own, **dosed.get((neuron, branch), {})},
                limit=curve_limit(curve),
                propagation=moved.get((neuron, branch)),
            )
        )
    return found


def subject_of_layer(layer: LayerFeatures) -> Subject:
    """An average neuron of a layer, on a plain curve with c0 = 0: what is known of it without naming one."""
    curve = SaturationCurve(0.0)
    return Subject("", 1, layer.layer, curve, layer.values(), curve_limit(curve))


def curve_limit(curve: Curve) -> float:
    """The largest c that a search asks of a curve: its coarse scan ends at the dose of `RANGE_END` (method section 1).

    Example:
        >>> from controlwindow.curves import SaturationCurve
        >>> round(curve_limit(SaturationCurve(0.0)), 6)
        0.98
    """
    return curve.coordinate(geometry.dose_for(geometry.RANGE_END))


def neuron_features(
    model: Model, generic: GenericPass, layer: int, columns: Sequence[int] | None = None
) -> dict[str, Floats]:
    """Tier-0 features of many neurons of a layer on branch +1, from weights and generic text.

    Args:
        model: The model.
        generic: Its generic pass.
        layer: The layer.
        columns: Which of its neurons, by column; None for all.

    Returns:
        By name, [neurons]: `cosine` (c0), `mean_cosine` (cosine with what all positions share), `variance_share`
        (variance of the residual along v over that along an average direction) and `readout_spread` (standard
        deviation over the vocabulary of the logits that v alone gives).
    """
    statistics = text_statistics(model, generic)
    directions = limit_directions(model, layer)
    if columns is not None:
        directions = directions[:, list(columns)]
    variation = statistics.layers[layer]
    parts = {
        "mean_cosine": variation.mean_cosines(directions),
        "variance_share": variation.variance_shares(directions),
        "readout_spread": statistics.readout_spreads(directions),
    }
    return {
        "cosine": generic.curves(model, layer, columns).cosines,
        **{name: np.asarray(values.double().cpu().numpy()) for name, values in parts.items()},
    }


def opposite_features(features: Mapping[str, Floats]) -> dict[str, Floats]:
    """`neuron_features` on the other branch."""
    return {name: -values if name in _SIGNED else values for name, values in features.items()}


def equal_dose(curve: Curve, dose: float) -> tuple[float, float]:
    """The dose on a curve that gives the coordinate which t gives on the plain curve of the same c0.

    Returns:
        That dose, and the plain dose it stands for: t itself, or under a cap that does not reach the coordinate what
        the largest dose asked for reaches.
    """
    wanted = geometry.control_coordinate(dose, curve.cosine)
    if curve.plateau is None:
        return dose, dose
    if wanted < curve.coordinate(CAPPED_DOSE):
        return curve.dose(wanted), dose
    reached = curve.coordinate(CAPPED_DOSE)
    return CAPPED_DOSE, max(geometry.dose_for(reached, curve.cosine), _FURTHEST[0])


def _dosed_features(
    model: Model,
    generic: GenericPass,
    curves: Mapping[Pair, Curve],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[Pair, dict[str, float | None]], dict[Pair, float | None]]:
    """Mean KL and surprise of every pair at `DOSES`, and how far the larger one propagates, over generic answers."""
    texts = [(p, t) for p, t in zip(generic.prompt_ids, generic.token_ids, strict=True) if t][:TEXTS]
    # Rows of one layer next to each other share what lies below it.
    order = sorted(curves, key=lambda pair: pair[0].layer)
    rows: list[ForcedRow] = []
    stands_for: dict[Pair, list[float]] = {}
    for neuron, branch in order:
        budget = generic.budget(model, neuron)
        for wanted in DOSES:
            dose, plain = equal_dose(curves[neuron, branch], wanted)
            stands_for.setdefault((neuron, branch), []).append(plain)
            operations = (Add(neuron, branch * dose * budget),)
            rows += [ForcedRow(prompt, tokens, operations) for prompt, tokens in texts]
    forced = forced_pass(model, rows, divergence=True, every=1 + is_thinned(model), propagation=True, progress=progress)
    lengths = np.array([len(tokens) for _, tokens in texts], dtype=np.float64)
    weights = lengths / lengths.sum()
    shape = (len(order), len(DOSES), len(texts))
    divergence = np.array([f.divergence for f in forced]).reshape(shape) @ weights
    surprise = np.array([f.surprise for f in forced]).reshape(shape) @ weights
    recomputed = np.array([f.recomputed for f in forced]).reshape(shape)[:, -1].sum(-1)
    moved = np.array([f.moved for f in forced]).reshape(shape)[:, -1].sum(-1)
    found: dict[Pair, dict[str, float | None]] = {}
    propagations: dict[Pair, float | None] = {}
    for place, pair in enumerate(order):
        found[pair] = {
            "own_divergence": float(divergence[place, 0]),
            "own_divergence_1": float(divergence[place, 1]),
            "own_surprise": float(surprise[place, 0]),
            "own_surprise_1": float(surprise[place, 1]),
            "own_dose": own_dose(stands_for[pair], divergence[place].tolist(), OWN_LEVEL),
        }
        neuron, branch = pair
        if model.post_norm(neuron.layer) is not None:
            # There a dose has no one direction, and the move at the neuron's own layer is read as well.
            dose, _ = equal_dose(curves[pair], DOSES[-1])
            operations = (Add(neuron, branch * dose * generic.budget(model, neuron)),)
            prompts, tokens = zip(*texts, strict=True)
            propagations[pair] = propagation(model, neuron, operations, prompts, tokens)
        else:
            propagations[pair] = float(recomputed[place] / moved[place]) if moved[place] else None
    return found, propagations


def own_dose(doses: Sequence[float], responses: Sequence[float], level: float) -> float | None:
    """The dose at which a response along a power law through two points reaches a level; None where it does not rise.

    Example:
        >>> round(own_dose([0.5, 1.0], [0.25, 1.0], 4.0), 6)
        2.0
    """
    (first, second), (low, high) = doses, responses
    if second == first and low > 0:
        # A cap gives both doses the same coordinate; a square law is what small doses follow.
        slope = 2.0
    elif low <= 0 or high <= low:
        return None
    else:
        slope = math.log(high / low) / math.log(second / first)
    reached = math.log(second) + math.log(level / high) / slope
    return math.exp(min(max(reached, math.log(_FURTHEST[0])), math.log(_FURTHEST[1])))
