"""What controls do with attention: hold its outputs as they were undosed, or push them by a matched amount."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Inject, Positions, RowOperations
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model
from controlwindow.statistics import stable_seed


@contextmanager
def keeping_attention(model: Model, kept: dict[int, torch.Tensor]) -> Iterator[None]:
    """Keep what the output projection of every layer's attention gives, [rows, positions, d_model], in `kept`."""

    def hook(layer: int) -> Any:
        def keep(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            kept[layer] = output.detach().clone()

        return keep

    with ExitStack() as stack:
        for layer in range(model.layers):
            stack.callback(model.attention_output(layer).register_forward_hook(hook(layer)).remove)
        yield


@contextmanager
def holding_attention(model: Model, kept: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """Replay kept attention outputs on the same batch, so that a dose reaches later layers through FFNs alone.

    What an operation does to attention (a push) is done on top of what is replayed where it lands after this hook.

    Args:
        model: The model.
        kept: What `keeping_attention` kept of the undosed pass over the same rows and positions.
    """

    def hook(layer: int) -> Any:
        return lambda _module, _args, _output: kept[layer]

    with ExitStack() as stack:
        for layer in kept:
            stack.callback(model.attention_output(layer).register_forward_hook(hook(layer)).remove)
        yield


def layer_moves(
    model: Model,
    operations: RowOperations,
    prompt_ids: Sequence[Sequence[int]],
    token_ids: Sequence[Sequence[int]],
    *,
    positions: Positions = "all",
    batch_rows: int = 32,
) -> dict[int, float]:
    """How far operations move the residual of the first layer they act in, each layer's part by itself.

    The first position of a text is left out: in many models its activations and its residual are those of no other.

    Args:
        model: The model.
        operations: Operations that act in one layer each.
        prompt_ids: Prompts as token ids.
        token_ids: Their undosed continuations; empty ones are left out.
        positions: Which positions count, as for operations.
        batch_rows: Rows per pass.

    Returns:
        For each layer that has operations the median ‖Δr_L‖ over positions.
    """
    pairs = [(p, t) for p, t in zip(prompt_ids, token_ids, strict=True) if len(t)]
    parts: dict[int, RowOperations] = {}
    for operation in operations:
        layer = operation.first_layer(model)
        parts[layer] = (*parts.get(layer, ()), operation)
    moved: dict[int, list[torch.Tensor]] = {layer: [] for layer in parts}
    for start in range(0, len(pairs), batch_rows):
        chosen = pairs[start : start + batch_rows]
        packed = pack(model, [p for p, _ in chosen], [t for _, t in chosen])
        options = model.forward_options(packed.attention_mask, packed.position_ids)
        counted = (packed.attention_mask > 0) & (packed.position_ids > 0)
        if positions == "generated":
            counted[:, : packed.first_generated] = False
        undosed: dict[int, torch.Tensor] = {}
        with measuring(model):
            with capturing(model, residuals=lambda site, r, u=undosed: u.update({site: r.clone()}), layers=list(parts)):  # type: ignore[misc]
                model.decoder(input_ids=packed.input_ids, **options)
            for layer, part in parts.items():

                def read(site: int, residual: torch.Tensor, before: Any = undosed, real: Any = counted) -> None:
                    moved[site].append((residual - before[site])[real].float().norm(dim=-1).cpu())

                with Intervention(model, [part] * len(chosen)) as intervention:
                    intervention.first_generated = packed.first_generated
                    with capturing(model, residuals=read, layers=[layer]):
                        model.decoder(input_ids=packed.input_ids, **options)
    return {layer: float(torch.cat(found).median()) for layer, found in moved.items()}


def attention_pushes(
    model: Model, sizes: Mapping[int, float], seed: int, positions: Positions = "all"
) -> tuple[Inject, ...]:
    """A random, fixed direction in every layer, as long as asked, added to what attention gives (ours).

    Directions are isotropic and belong to seed and layer alone, so a ladder of sizes goes along one line.

    Args:
        model: The model.
        sizes: Length by layer, in residual units; layers with length 0 are left alone.
        seed: Seed of the directions.
        positions: Where they are added.
    """
    pushes = []
    for layer, size in sorted(sizes.items()):
        generator = torch.Generator().manual_seed(stable_seed("attention push", seed, layer) % 2**31)
        unit = nn.functional.normalize(torch.randn(model.d_model, generator=generator), dim=0)
        if size > 0:
            pushes.append(Inject(layer, size * unit, positions, "attention"))
    return tuple(pushes)
