"""Moments of every neuron's activation at the last prompt position, streamed over plain batched passes.

A screen costs what plain forward passes over its prompts cost: no logits, prompts sorted by length so that little is
padded, each distinct prompt once whatever it counts for, and sums that stay on the model's device until the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.errors import ScreenError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.models import Model

Floats = NDArray[np.float64]
_LAST = slice(-1, None)

BATCH_TOKENS = {"cpu": 1024}
"""Most token positions of a pass by device, padding included: on a CPU its activations should stay in the cache."""

_BATCH_TOKENS_ELSEWHERE = 16_384


@dataclass(frozen=True)
class LastPosition:
    """Moments over groups of prompts, all layers in a row.

    Attributes:
        mean: Mean activation of each group, [groups, neurons].
        mean_square: Mean squared activation of each group, [groups, neurons].
        low: Smallest activation over all groups, [neurons].
        high: Largest activation over all groups, [neurons].
        top_share: Share of the diverse prompts on which |a| is among the largest of the whole model, [neurons].
        passed: Distinct prompts that were passed through the model.
        tokens: Their token positions in all.
    """

    mean: Floats
    mean_square: Floats
    low: Floats
    high: Floats
    top_share: Floats
    passed: int
    tokens: int


def last_position_moments(
    model: Model,
    groups: Sequence[Sequence[str]],
    diverse: Sequence[str],
    top: int,
    *,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LastPosition:
    """Stream moments of every neuron's activation at the last prompt position.

    Args:
        model: The model.
        groups: User prompts of each group, at least one each.
        diverse: Prompts on which the largest activations are counted.
        top: How many neurons count as the largest on a prompt.
        batch_tokens: Most token positions of a pass; default by device.
        progress: Called with prompts done and prompts in all.

    Returns:
        The moments, [neurons] in the order of `model.neurons`. Neurons of experts that a prompt's last token was not
        routed to count as 0.

    Raises:
        ScreenError: Not every neuron was read.
    """
    counts = [len(group) for group in groups]
    encoded = [tuple(ids) for ids in model.token_ids([prompt for group in (*groups, diverse) for prompt in group])]
    weights: dict[tuple[int, ...], list[float]] = {}
    owners = [owner for owner, count in enumerate((*counts, len(diverse))) for _ in range(count)]
    for ids, owner in zip(encoded, owners, strict=True):
        weights.setdefault(ids, [0.0] * (len(groups) + 1))[owner] += 1
    prompts = sorted(weights, key=lambda ids: (len(ids), ids))
    tokens = batch_tokens or BATCH_TOKENS.get(model.device.type, _BATCH_TOKENS_ELSEWHERE)
    sums = _Sums(model, len(groups), min(top, len(model.neurons)))
    done = 0
    for size in batch_sizes([len(ids) for ids in prompts], tokens):
        chosen = prompts[done : done + size]
        batch = model.pad(chosen)
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        options = model.forward_options(batch["attention_mask"], positions)
        sums.begin([weights[ids] for ids in chosen])
        with measuring(model), capturing(model, activations=sums.add, positions=_LAST):
            model.decoder(input_ids=batch["input_ids"], **options)
        sums.end()
        done += size
        if progress is not None:
            progress(done, len(prompts))
    return sums.result(counts, len(diverse), [len(ids) for ids in prompts])


def batch_sizes(lengths: Sequence[int], tokens: int) -> list[int]:
    """Sizes of consecutive batches of ascending lengths that hold at most so many positions, one prompt at least."""
    sizes: list[int] = []
    for length in lengths:
        if sizes and (sizes[-1] + 1) * length <= tokens:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


class _Sums:
    """Sums in float64 on the model's device; nothing is read back before `result`."""

    def __init__(self, model: Model, groups: int, top: int) -> None:
        self._model, self._top, self._groups = model, top, groups
        neurons, device = len(model.neurons), model.device
        starts = list(accumulate(model.neurons.widths, initial=0))
        self._spans = [slice(start, end) for start, end in pairwise(starts)]
        self._total = torch.zeros((groups, neurons), dtype=torch.float64, device=device)
        self._square = torch.zeros_like(self._total)
        self._low = torch.full((neurons,), torch.inf, device=device)
        self._high = torch.full((neurons,), -torch.inf, device=device)
        self._tops = torch.zeros(neurons, dtype=torch.float64, device=device)

    def begin(self, weights: Sequence[Sequence[float]]) -> None:
        """Take how often each row of the next pass counts for each group, and last as a diverse prompt."""
        device = self._model.device
        self._weights = torch.tensor(weights, dtype=torch.float64).T.contiguous().to(device)
        grouped = [row for row, values in enumerate(weights) if any(values[: self._groups])]
        diverse = [row for row, values in enumerate(weights) if values[self._groups]]
        self._grouped, self._diverse = (torch.tensor(rows, device=device) for rows in (grouped, diverse))
        self._sizes = torch.zeros((len(diverse), len(self._model.neurons)), dtype=self._model.dtype, device=device)
        self._seen: list[int] = []

    def add(self, layer: int, activations: torch.Tensor) -> None:
        """Take one layer of a pass, [rows, 1, neurons]."""
        values, span = activations[:, -1], self._spans[layer]
        self._seen.append(layer)
        exact = values.double()
        self._total[:, span] += self._weights[:-1] @ exact
        self._square[:, span] += self._weights[:-1] @ exact.square()
        if len(self._grouped):
            low, high = torch.aminmax(values[self._grouped].float(), dim=0)
            torch.minimum(self._low[span], low, out=self._low[span])
            torch.maximum(self._high[span], high, out=self._high[span])
        if len(self._diverse):
            self._sizes[:, span] = values[self._diverse].abs()

    def end(self) -> None:
        """Finish a pass: each layer must have been read once, and the largest activations are counted."""
        if sorted(self._seen) != list(range(self._model.layers)):
            missed = sum(width for layer, width in enumerate(self._model.neurons.widths) if layer not in self._seen)
            raise ScreenError(
                f"activations of {len(self._model.neurons) - missed} of {len(self._model.neurons)} neurons of "
                f"{self._model.name} could be read, and a screen covers all or none",
                "run the model's own forward pass: something replaces a block's FFN, or calls it more than once",
            )
        if len(self._diverse):
            largest = self._sizes.topk(self._top, dim=1).indices
            often = self._weights[-1, self._diverse][:, None].expand(-1, self._top)
            self._tops.scatter_add_(0, largest.flatten(), often.flatten())

    def result(self, counts: Sequence[int], diverse: int, lengths: Sequence[int]) -> LastPosition:
        """The moments, moved to the CPU in one transfer."""
        share = torch.tensor(counts, dtype=torch.float64, device=self._total.device)[:, None]
        parts = [self._total / share, self._square / share, self._low[None], self._high[None]]
        whole = torch.cat([*parts, (self._tops / max(diverse, 1))[None]]).cpu().numpy()
        groups = len(counts)
        low, high, tops = whole[2 * groups :]
        mean, square = whole[:groups], whole[groups : 2 * groups]
        return LastPosition(mean, square, low, high, tops, passed=len(lengths), tokens=sum(lengths))
