"""Directions of a behavior in the residual stream: d_F, and the mean difference between its two states."""

from __future__ import annotations

from typing import Any

import torch

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.pairs import prompt_pairs
from controlwindow.behaviors.prompts import Split
from controlwindow.errors import BehaviorError
from controlwindow.instruments.arrays import pack_array
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.hooks import measuring
from controlwindow.measuring.answers import Answers, partners
from controlwindow.models import Model

_BATCH_ROWS = 32


def measure_directions(answers: Answers, behavior: Behavior, split: Split) -> dict[str, Any]:
    """Both directions, each pointing from the source state to the target state.

    d_F is that of the objective which the last prompt position decides, mean over prompts. The mean difference is that
    of r_L at the last prompt position, X− less X+, by layer; without a contrast, X~ less X over the pairs.

    Args:
        answers: Reads texts with the model.
        behavior: The behavior.
        split: The split whose prompts are read.

    Returns:
        JSON values: "objective", [d_model], and "mean_difference", [layers, d_model], as packed arrays; "origin", what
        the difference was taken of, contrast or pairs; and the cost.

    Raises:
        BehaviorError: The behavior has neither a contrast nor pairs in this split.
        ScreenError: Target and control are not told apart.
    """
    model, cost = answers.model, Cost()
    try:
        contrast = behavior.contrast(split)
        source, target = [p.text for p in contrast.positive], [p.text for p in contrast.negative]
        mates = [p.text for p in partners(contrast.positive, contrast.negative)]
        origin = "contrast"
    except BehaviorError:
        pairs = prompt_pairs(behavior, split)
        source, target = [pair.prompt.text for pair in pairs], [pair.perturbed.text for pair in pairs]
        mates, origin = target, "pairs"
    objectives = answers.first_objectives(behavior, source, mates, Cost())
    readout = torch.stack([o.readout(model) for o in dict.fromkeys(objectives)]).mean(0)
    difference = _mean_residuals(model, target, cost) - _mean_residuals(model, source, cost)
    return {
        "origin": origin,
        "objective": pack_array(readout.double().cpu().numpy()),
        "mean_difference": pack_array(difference.cpu().numpy()),
        "cost": cost.to_row(),
    }


def _mean_residuals(model: Model, prompts: list[str], cost: Cost) -> torch.Tensor:
    """Mean r_L at the last prompt position, [layers, d_model], float64."""
    total = torch.zeros((model.layers, model.d_model), dtype=torch.float64, device=model.device)
    encoded = model.token_ids(prompts)

    def read(layer: int, residual: torch.Tensor) -> None:
        total[layer] += residual[:, 0].double().sum(0)

    for start in range(0, len(encoded), _BATCH_ROWS):
        batch = model.pad(encoded[start : start + _BATCH_ROWS])
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        options = model.forward_options(batch["attention_mask"], positions)
        with measuring(model), capturing(model, residuals=read, positions=slice(-1, None)):
            model.decoder(input_ids=batch["input_ids"], **options)
    cost.forward += len(encoded)
    cost.tokens += sum(map(len, encoded))
    return total / len(encoded)


def mean_difference(model: Model, behavior: Behavior, split: Split) -> torch.Tensor:
    """Mean of r_L at the last prompt position over X− less that over X+, [layers, d_model], float64.

    The direction of mean-difference addition (CAA; Rimsky et al. 2024) and directional ablation (Arditi et al. 2024),
    pointing from the source state to the target state.

    Args:
        model: The model.
        behavior: The behavior.
        split: The split whose prompts are read.

    Raises:
        BehaviorError: The split has no contrast.
    """
    contrast, cost = behavior.contrast(split), Cost()
    positive, negative = ([prompt.text for prompt in side] for side in (contrast.positive, contrast.negative))
    return _mean_residuals(model, negative, cost) - _mean_residuals(model, positive, cost)
