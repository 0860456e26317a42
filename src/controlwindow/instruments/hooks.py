"""Hooks that give every row of a batch its own operations, and always restore the model.

Operations on a neuron act at the *input of the FFN's output projection*, so that whatever follows it (a norm, a
multiplier) acts on the dose as it acts on the neuron. Several operations on one activation compose to one affine map,
so that a decode step costs one gather and one scatter per dosed layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from controlwindow.instruments.operations import (
    Add,
    Dose,
    Inject,
    Pin,
    RowOperations,
    Scale,
    check_operations,
)
from controlwindow.models import Model, Neuron


@dataclass(frozen=True)
class _Affine:
    """a ← a·scale + offset on chosen activations of one layer; one entry per (row, neuron).

    Scale and offset are [entries, 2]: before generated positions, where only operations on all positions act, and
    from there on, where every operation acts.
    """

    rows: torch.Tensor
    indices: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor

    def select(self, new_row: torch.Tensor) -> _Affine:
        """Entries of the rows that stay; `new_row` maps an old row to its new place or −1."""
        rows = new_row[self.rows]
        keep = rows >= 0
        return _Affine(rows[keep], self.indices[keep], self.scale[keep], self.offset[keep])

    def apply(self, activations: torch.Tensor, first_generated: int) -> None:
        """Change activations, [rows, positions, neurons], in place."""
        for part, span in enumerate((slice(0, first_generated), slice(first_generated, activations.shape[1]))):
            if span.start < span.stop:
                values = activations[self.rows, span, self.indices]
                values = values * self.scale[:, part, None] + self.offset[:, part, None]
                activations[self.rows, span, self.indices] = values


@dataclass(frozen=True)
class _Injection:
    """Vectors added to the residual stream of chosen rows of one layer."""

    rows: torch.Tensor
    vectors: torch.Tensor
    everywhere: bool

    def select(self, new_row: torch.Tensor) -> _Injection:
        """Entries of the rows that stay, as in `_Affine.select`."""
        rows = new_row[self.rows]
        keep = rows >= 0
        return _Injection(rows[keep], self.vectors[keep], self.everywhere)


class Intervention:
    """The operations of a batch, installed as hooks for as long as the context is open.

    Args:
        model: The model.
        rows: One tuple of operations per row of the batches that will be run.

    Attributes:
        first_generated: In a pass over whole sequences, the column from which positions count as generated (the last
            prompt position). None: every column is generated, as in a decode step.

    Example:
        >>> from controlwindow import load_model, Neuron
        >>> from controlwindow.instruments.operations import Scale
        >>> model = load_model("organism:switch")
        >>> batch = model.encode(["Hello.", "Hello."])
        >>> with Intervention(model, [(), (Scale(Neuron(3, 7), 0.0),)]) as intervention:
        ...     logits = model.hf_model(**batch).logits
    """

    def __init__(self, model: Model, rows: Sequence[RowOperations]) -> None:
        check_operations(model, rows)
        self.model = model
        self.first_generated: int | None = None
        self._affine = _compile_affine(model, rows)
        self._injections = _compile_injections(model, rows)
        self._stack = ExitStack()

    def select(self, keep: torch.Tensor, size: int) -> None:
        """Follow a batch whose rows were reduced to `keep` (indices into the old batch of `size` rows)."""
        new_row = torch.full((size,), -1, dtype=torch.long, device=keep.device)
        new_row[keep] = torch.arange(len(keep), device=keep.device)
        self._affine = {layer: table.select(new_row) for layer, table in self._affine.items()}
        self._injections = {k: [table.select(new_row) for table in tables] for k, tables in self._injections.items()}

    def __enter__(self) -> Intervention:
        try:
            for layer in self._affine:
                handle = self.model.ffn_outputs[layer].register_forward_pre_hook(self._activation_hook(layer))
                self._stack.callback(handle.remove)
            for layer in self._injections:
                handle = self.model.blocks[layer].register_forward_hook(self._residual_hook(layer), prepend=True)
                self._stack.callback(handle.remove)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _activation_hook(self, layer: int) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            activations = args[0].clone()
            self._affine[layer].apply(activations, self.first_generated or 0)
            return (activations, *args[1:])

        return hook

    def _residual_hook(self, layer: int) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            residual = residual_of(output).clone()
            for table in self._injections[layer]:
                begin = 0 if table.everywhere else self.first_generated or 0
                residual[table.rows, begin:] += table.vectors[:, None, :]
            return (residual, *output[1:]) if isinstance(output, tuple) else residual

        return hook


def residual_of(output: Any) -> torch.Tensor:
    """The residual stream in a block's output: a bare tensor in Transformers 5, the first of a tuple in others."""
    residual: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return residual


def _compile_affine(model: Model, rows: Sequence[RowOperations]) -> dict[int, _Affine]:
    # Per layer and (row, neuron) the composed maps before generated positions and from there on.
    maps: dict[int, dict[tuple[int, int], tuple[tuple[float, float], tuple[float, float]]]] = {}
    for row, operations in enumerate(rows):
        for operation in operations:
            if isinstance(operation, Inject):
                continue
            neuron, scale, offset = _affine_of(model, operation)
            entries = maps.setdefault(neuron.layer, {})
            before, generated = entries.get((row, neuron.index), ((1.0, 0.0), (1.0, 0.0)))
            if operation.positions == "all":
                before = (before[0] * scale, before[1] * scale + offset)
            entries[row, neuron.index] = before, (generated[0] * scale, generated[1] * scale + offset)
    device, dtype = model.device, model.dtype
    return {
        layer: _Affine(
            rows=torch.tensor([row for row, _ in entries], device=device),
            indices=torch.tensor([index for _, index in entries], device=device),
            scale=torch.tensor([[scale for scale, _ in pair] for pair in entries.values()], device=device, dtype=dtype),
            offset=torch.tensor(
                [[offset for _, offset in pair] for pair in entries.values()], device=device, dtype=dtype
            ),
        )
        for layer, entries in maps.items()
    }


def _affine_of(model: Model, operation: Dose | Add | Pin | Scale) -> tuple[Neuron, float, float]:
    match operation:
        case Dose():
            return operation.neuron, 1.0, operation.alpha(model)
        case Add():
            return operation.neuron, 1.0, operation.alpha
        case Pin():
            return operation.neuron, 0.0, operation.value
        case Scale():
            return operation.neuron, operation.factor, 0.0


def _compile_injections(model: Model, rows: Sequence[RowOperations]) -> dict[int, list[_Injection]]:
    # A scatter with repeated rows keeps one vector only, so several injections into one row are summed first.
    summed: dict[tuple[int, bool], dict[int, torch.Tensor]] = {}
    for row, operations in enumerate(rows):
        for operation in operations:
            if isinstance(operation, Inject):
                vectors = summed.setdefault((operation.layer, operation.positions == "all"), {})
                vector = operation.vector.to(model.device, model.dtype)
                vectors[row] = vectors[row] + vector if row in vectors else vector
    compiled: dict[int, list[_Injection]] = {}
    for (layer, everywhere), vectors in summed.items():
        rows_here = torch.tensor(list(vectors), device=model.device)
        table = _Injection(rows_here, torch.stack(list(vectors.values())), everywhere)
        compiled.setdefault(layer, []).append(table)
    return compiled


class ControlCoordinates:
    """Measures cos(r_L, s·v) of every dosed row at the last position of each pass.

    Args:
        model: The model.
        layers: Each row's layer, −1 for a row that is not measured.
        directions: Each row's s·v, [rows, d_model].

    Attributes:
        current: The cosines of the last pass, [rows]; NaN where nothing is measured.
    """

    def __init__(self, model: Model, layers: Sequence[int], directions: torch.Tensor) -> None:
        self.model = model
        self._layers = torch.tensor(layers, device=model.device)
        self._directions = nn.functional.normalize(directions.to(model.device, model.dtype), dim=-1)
        self.current = torch.full((len(layers),), torch.nan, device=model.device)
        self._index()
        self._stack = ExitStack()

    def _index(self) -> None:
        self._rows = {layer: torch.nonzero(self._layers == layer)[:, 0] for layer in set(self._layers.tolist())}
        self._rows.pop(-1, None)

    def select(self, keep: torch.Tensor) -> None:
        """Follow a batch whose rows were reduced to `keep`."""
        self._layers, self._directions = self._layers[keep], self._directions[keep]
        self.current = self.current[keep]
        self._index()

    def __enter__(self) -> ControlCoordinates:
        for layer in list(self._rows):
            # Registered after the intervention's hooks and not prepended, so it sees the residual as it goes on.
            handle = self.model.blocks[layer].register_forward_hook(self._hook(layer))
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _hook(self, layer: int) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            rows = self._rows.get(layer)
            if rows is None or len(rows) == 0:
                return
            residual = residual_of(output)[rows, -1]
            self.current[rows] = nn.functional.cosine_similarity(residual, self._directions[rows], dim=-1).float()

        return hook


@contextmanager
def measuring(model: Model) -> Iterator[None]:
    """Run without gradients and without dropout; every module's mode comes back as it was."""
    training = [module for module in model.hf_model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
