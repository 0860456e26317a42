"""The readout of decoding: the likeliest token of every state, with logits held in slices."""

from __future__ import annotations

from typing import NamedTuple

import torch

from controlwindow.instruments.sharing import Bools, Ints
from controlwindow.models import Model

TIE_MARGIN = 1e-4
"""Top-two logit margin below which two correct implementations may choose different tokens (design)."""

LOGITS_AT_ONCE = 1 << 25
"""Most logits held at once, 128 MiB in float32."""


class Highest(NamedTuple):
    """What the logits of some states say, [lanes, positions] each.

    Attributes:
        token: The likeliest token.
        tied: Whether the second is as good.
        finite: Whether there is any: a logit that is NaN counts as the highest, so the highest tells of all.
    """

    token: Ints
    tied: Bools
    finite: Bools


def highest(model: Model, hidden: torch.Tensor) -> Highest:
    """The likeliest token of each state.

    Args:
        model: The model.
        hidden: Final-normed states, [lanes, positions, d_model].
    """
    vocabulary = model.hf_model.get_input_embeddings().weight.shape[0]
    parts: tuple[list[torch.Tensor], ...] = ([], [], [])
    for states in torch.split(hidden.reshape(-1, hidden.shape[-1]), max(1, LOGITS_AT_ONCE // vocabulary)):
        top = model.readout(states).topk(2, dim=-1)
        found = (top.indices[:, 0], top.values[:, 0] - top.values[:, 1] < TIE_MARGIN, top.values[:, 0].isfinite())
        for part, values in zip(parts, found, strict=True):
            part.append(values)
    return Highest(*(torch.cat(part).view(hidden.shape[:2]).cpu().numpy() for part in parts))
