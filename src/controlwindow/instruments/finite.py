"""Numbers that are not finite: found where they are read, and named by the layer they begin in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch

from controlwindow.errors import ModelError
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import RowOperations
from controlwindow.models import Model

_WIDER = {"float16": "bfloat16 or float32", "bfloat16": "float32"}


class NotFinite(Exception):
    """A row's logits are not finite; raised through the open hooks, so that the row is looked at without them."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def not_finite(model: Model, token_ids: Sequence[int], operations: RowOperations = ()) -> ModelError:
    """The error for a pass that gave NaN or infinite numbers, which would be read as tokens or likelihoods.

    The pass is run once more on its own, to find the layer in which they begin.

    Args:
        model: The model.
        token_ids: What was read when they were found.
        operations: What happened to the row.
    """
    kind = str(model.dtype).removeprefix("torch.")
    where = _first(model, token_ids, ())
    dosed = ""
    if where is None and operations:
        where, dosed = _first(model, token_ids, operations), " under the operation that was asked for"
    begun = f", beginning in {where}" if where is not None else ""
    wider = _WIDER.get(kind)
    if wider is not None:
        hint = f"load it in {wider} (--dtype {wider.split()[-1]}), whose numbers reach further"
    elif dosed:
        hint = "give a smaller dose, factor or vector"
    else:
        hint = "the checkpoint is damaged, or its configuration is another model's: fetch it again"
    return ModelError(f"{model.name} gives numbers that are not finite in {kind}{begun}{dosed}", hint)


def require_finite(
    model: Model,
    values: Iterable[float],
    token_ids: Callable[[int], tuple[Sequence[int], RowOperations]],
) -> None:
    """Stop where one of the numbers that rows gave is not finite.

    Args:
        model: The model.
        values: One number a row, into which every NaN of the row has found its way.
        token_ids: What a row read and what happened to it, by its number.

    Raises:
        ModelError: Some value is not finite; it names the layer and the type, and says what to use.
    """
    for row, value in enumerate(values):
        if not math.isfinite(value):
            raise not_finite(model, *token_ids(row))


def _first(model: Model, token_ids: Sequence[int], operations: RowOperations) -> str | None:
    """The first part of a model whose output is not finite; None if all are."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def read(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            values = output[0] if isinstance(output, tuple) else output
            if not found and isinstance(values, torch.Tensor) and not bool(torch.isfinite(values).all()):
                found.append(name)

        return read

    ids = torch.tensor([list(token_ids)], device=model.device)
    mask = torch.ones_like(ids)
    handles = []
    with measuring(model), Intervention(model, [operations]):
        # Behind the hooks of the operations, so that what they make of an output is seen.
        for layer, block in enumerate(model.blocks):
            handles.append(block.register_forward_hook(watch(f"layer {layer}")))
        final = model.hf_model.get_submodule(model.family.final_norm)
        handles.append(final.register_forward_hook(watch("the final norm")))
        try:
            hidden = model.decoder(input_ids=ids, **model.forward_options(mask, mask.cumsum(-1) - 1))[0]
            logits = model.readout(hidden[:, -1])
        finally:
            for handle in handles:
                handle.remove()
    if not found and not bool(torch.isfinite(logits).all()):
        found.append("the readout")
    return found[0] if found else None
