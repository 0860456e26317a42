"""Capture: activations at the FFN output projection's input, residuals at block outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
