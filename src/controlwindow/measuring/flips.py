"""Teacher-forced flips: where a dose makes the target answer likelier than the source answer, without a rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from controlwindow import geometry
from controlwindow.behaviors import Behavior, Split
from controlwindow.curves import Curve, SaturationCurve
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.operations import Add, Inject, Positions, RowOperations
from controlwindow.measuring.answers import Answers, partners
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.windows.features import Pair

COORDINATES: tuple[float, ...] = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Control coordinates of the doses, at c0 = 0."""

PROMPTS = 8
"""Prompts of the contrast that a flip is read on."""


def trigger_flips(
    model: Model,
    behavior: Behavior,
    pairs: Sequence[Pair],
    generic: GenericPass | None = None,
    *,
    split: Split = "find",
    prompts: int = PROMPTS,
    injected: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Pair, float | None]:
    """The control coordinate at which each neuron flips the median prompt, both answers teacher-forced (ours).

    For a prompt of X+ the source answer is the beginning of the model's own undosed answer, the target answer the
    sequence of [log_odds] that the undosed model finds least surprising there, else its undosed answer to the prompt
    of X− that belongs to it. F is the difference of their log-likelihoods under the dose, per token, as the two differ
    in length.

    Args:
        model: The model.
        behavior: The behavior; it needs a contrast.
        pairs: Neurons and branches; all at once is much faster than one by one.
        generic: The model's generic pass; default its own.
        split: Split of the contrast, by default one that no verdict is measured on.
        prompts: Prompts that are used at most.
        injected: Inject the write direction into the residual stream instead, past any norm after the FFN.
        progress: Called with rows done and rows in all.

    Returns:
        c at which the median F over the prompts first crosses 0, between the doses by linear interpolation; None where
        it does not.

    Raises:
        BehaviorError: The contrast is too small.
        NeuronError: A neuron lies outside the model, or has no budget.
    """
    generic = generic_pass(model) if generic is None else generic
    contrast = behavior.contrast(split)
    mates = partners(contrast.positive, contrast.negative)
    answers = Answers(model).pairs(behavior, contrast.positive[:prompts], mates[:prompts], Cost())
    texts = [(pair.prompt_ids, text) for pair in answers for text in (pair.target, pair.source)]
    doses = [geometry.dose_for(c) for c in COORDINATES]
    order = sorted(dict.fromkeys(pairs), key=lambda pair: pair[0].layer)
    curves: dict[Pair, Curve] = {}
    rows = [ForcedRow(prompt, text, ()) for prompt, text in texts]
    for neuron, branch in order:
        # An injection is read on the plain curve of its direction, which no norm caps.
        curve = generic.curve(model, neuron, branch)
        curves[neuron, branch] = SaturationCurve(curve.cosine) if injected else curve
        for dose in doses:
            operations = _dose(model, generic, neuron, branch * dose, injected, behavior.positions)
            rows += [ForcedRow(prompt, text, operations) for prompt, text in texts]
    likelihood = np.array([row.log_likelihood for row in forced_pass(model, rows, progress=progress)])
    odds = likelihood.reshape(-1, len(answers), 2) / np.array([[len(p.target), len(p.source)] for p in answers])
    middle = np.median(odds[..., 0] - odds[..., 1], axis=-1)
    found = {}
    for place, pair in enumerate(order):
        response = [middle[0], *middle[1 + place * len(doses) : 1 + (place + 1) * len(doses)]]
        found[pair] = first_crossing([curves[pair].coordinate(t) for t in (0.0, *doses)], response)
    return {pair: found[pair] for pair in pairs}


def _dose(
    model: Model, generic: GenericPass, neuron: Neuron, t: float, injected: bool, positions: Positions
) -> RowOperations:
    if not injected:
        return (Add(neuron, t * generic.budget(model, neuron), positions),)
    unit = nn.functional.normalize(write_direction(model, neuron).float(), dim=0)
    length = t * generic.layers[neuron.layer].residual_norm
    return (Inject(neuron.layer, length * unit, positions),)


def first_crossing(coordinates: Sequence[float], response: Sequence[float]) -> float | None:
    """Where a response first rises through 0, linear between points; None when never.

    Example:
        >>> first_crossing([0.0, 0.2, 0.4], [-2.0, -1.0, 1.0])
        0.30000000000000004
    """
    if response[0] >= 0:
        return float(coordinates[0])
    for i in range(1, len(response)):
        if response[i] >= 0:
            share = -response[i - 1] / (response[i] - response[i - 1])
            return float(coordinates[i - 1] + share * (coordinates[i] - coordinates[i - 1]))
    return None
