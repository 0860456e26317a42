"""Capture: activations at the FFN output projection's input, residuals at block outputs, streaming moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from controlwindow.instruments.hooks import measuring, residual_of
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model, Neuron


@contextmanager
def capturing(
    model: Model,
    *,
    activations: Callable[[int, torch.Tensor], None] | None = None,
    residuals: Callable[[int, torch.Tensor], None] | None = None,
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Call back with what passes the sites of interest, while the context is open.

    Args:
        model: The model.
        activations: Called with (layer, activations [rows, positions, neurons]).
        residuals: Called with (layer, residual [rows, positions, d_model]).
        layers: Layers of interest; default all.
    """
    with ExitStack() as stack:
        for layer in range(model.layers) if layers is None else layers:
            if activations is not None:
                handle = model.ffn_outputs[layer].register_forward_pre_hook(_activation_reader(layer, activations))
                stack.callback(handle.remove)
            if residuals is not None:
                handle = model.blocks[layer].register_forward_hook(_residual_reader(layer, residuals))
                stack.callback(handle.remove)
        yield


def _activation_reader(layer: int, reader: Callable[[int, torch.Tensor], None]) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        reader(layer, args[0])

    return hook


def _residual_reader(layer: int, reader: Callable[[int, torch.Tensor], None]) -> Any:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        reader(layer, residual_of(output))

    return hook


@dataclass
class Moments:
    """Streaming sums over observations of a layer's activations, in float64.

    Attributes:
        count: Observations.
        total: Σ a, [neurons].
        square: Σ a², [neurons].
        low: Smallest activation, [neurons].
        high: Largest activation, [neurons].
    """

    count: int = 0
    total: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    square: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    low: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    high: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, values: torch.Tensor) -> None:
        """Add observations, [observations, neurons]."""
        exact = values.detach().double().cpu()
        total, square = exact.sum(0), exact.square().sum(0)
        low, high = values.amin(0).float().cpu(), values.amax(0).float().cpu()
        if self.count == 0:
            self.total, self.square, self.low, self.high = total, square, low, high
        else:
            self.total, self.square = self.total + total, self.square + square
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.count += len(values)

    @property
    def mean(self) -> torch.Tensor:
        """Mean activation, [neurons]."""
        return self.total / self.count

    @property
    def mean_square(self) -> torch.Tensor:
        """Mean squared activation, [neurons]."""
        return self.square / self.count


def last_position_activations(
    model: Model,
    prompts: Sequence[str],
    reader: Callable[[int, torch.Tensor], None],
    *,
    batch_rows: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Read every neuron's activation at the last prompt position.

    Args:
        model: The model.
        prompts: User prompts.
        reader: Called once per layer and batch with (layer, activations [rows, neurons]).
        batch_rows: Prompts per pass.
        progress: Called with prompts done and prompts in all.
    """
    for start in range(0, len(prompts), batch_rows):
        batch = model.encode(prompts[start : start + batch_rows])
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with measuring(model), capturing(model, activations=lambda layer, a: reader(layer, a[:, -1])):
            model.hf_model(**batch, position_ids=positions, use_cache=False, logits_to_keep=1)
        if progress is not None:
            progress(min(start + batch_rows, len(prompts)), len(prompts))


def activation_ranges(
    model: Model,
    neurons: Sequence[Neuron],
    prompt_ids: Sequence[Sequence[int]],
    token_ids: Sequence[Sequence[int]],
    *,
    batch_rows: int = 32,
) -> dict[Neuron, tuple[float, float, float]]:
    """Smallest, median and largest natural activation of some neurons over the generated positions of given text.

    Args:
        model: The model.
        neurons: Which neurons.
        prompt_ids: Prompts as token ids.
        token_ids: Undosed continuations; empty ones are left out.
        batch_rows: Rows per pass.
    """
    pairs = [(p, t) for p, t in zip(prompt_ids, token_ids, strict=True) if len(t)]
    indices: dict[int, list[int]] = {}
    for neuron in neurons:
        indices.setdefault(neuron.layer, []).append(neuron.index)
    seen: dict[int, list[torch.Tensor]] = {layer: [] for layer in indices}
    for start in range(0, len(pairs), batch_rows):
        packed = pack(
            model, [p for p, _ in pairs[start : start + batch_rows]], [t for _, t in pairs[start : start + batch_rows]]
        )

        def read(layer: int, values: torch.Tensor, packed: Sequences = packed) -> None:
            seen[layer].append(packed.emitted_from(values)[:, indices[layer]].float().cpu())

        with measuring(model), capturing(model, activations=read, layers=sorted(indices)):
            packed.logits(model)
    ranges = {}
    for layer, parts in seen.items():
        values = torch.cat(parts)
        for column, index in enumerate(indices[layer]):
            chosen = values[:, column]
            ranges[Neuron(layer, index)] = (float(chosen.min()), float(chosen.median()), float(chosen.max()))
    return ranges
