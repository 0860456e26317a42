"""Hooks that give every row of a batch its own operations, and always restore the model.

Operations on a neuron act at the *input of the FFN's output projection*, so that whatever follows it (a norm, a
multiplier, a router weight) acts on the dose as it acts on the neuron. The activations of routed experts are inputs of
no module; there the experts' output is changed by what the changed activation would have added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from controlwindow.instruments.compiling import compile_tables
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.tables import ActivationTable, Injection, Removal, ResidualTable, Routed
from controlwindow.models import Model
from controlwindow.models.feedforward import RoutedExperts


class BatchShape:
    """Rows and positions that a block was last given. Some FFNs flatten them to tokens before their projections.

    Attributes:
        passes: How often the block was run.
    """

    def __init__(self) -> None:
        self.rows, self.positions, self.passes = 0, 0, 0

    def install(self, block: nn.Module, stack: ExitStack) -> None:
        """Read the shape of what the block is given from now on, until the stack closes."""
        # Behind the hooks that were there before: they may change how many rows the block is given.
        handle = block.register_forward_pre_hook(self._read, with_kwargs=True)
        stack.callback(handle.remove)

    def _read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self.rows, self.positions = hidden.shape[:2]
        self.passes += 1

    def unflatten(self, values: torch.Tensor) -> torch.Tensor:
        """[tokens, …] or [rows, positions, …] as [rows, positions, …], a view."""
        return values if values.ndim > 2 else values.view(self.rows, self.positions, values.shape[-1])


class Intervention:
    """The operations of a batch, installed as hooks for as long as the context is open.

    Args:
        model: The model.
        rows: One tuple of operations per row of the batches that will be run.

    Attributes:
        first_generated: In a pass over whole sequences, the column from which positions count as generated (the last
            prompt position). None: every column is generated, as in a decode step.
        layers: Layers in which anything is changed.

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
        self._all = compile_tables(model, rows)
        self.layers = self._all.layers(model)
        self._activations: dict[int, tuple[list[ActivationTable], list[ActivationTable]]] = {}
        self._pushes: dict[int, list[Injection]] = {}
        self._removals: dict[int, list[Removal]] = {}
        self._residual: dict[int, list[ResidualTable]] = {}
        everyone = torch.arange(len(rows), device=model.device)
        for layer in self.layers:
            self.place(layer, everyone)
        self._stack = ExitStack()

    def place(self, layer: int, rows: torch.Tensor) -> None:
        """Say where the rows this intervention was made for stand in the batches of one layer from now on.

        Args:
            layer: The layer. Others are left as they are.
            rows: For each original row its place in the layer's batch, or −1 if it is not there, [original rows]. Rows
                that share a place must have the same operations in this layer; they are done once.
        """
        if layer not in self.layers:
            return
        tables = [table.place(rows) for table in self._all.activations.get(layer, ())]
        routed, total = self.model.neurons.shapes[layer].routed, self.model.neurons.shapes[layer].total
        self._activations[layer] = (
            [table.within(0, routed) for table in tables],
            [table.within(routed, total) for table in tables],
        )
        self._pushes[layer] = [table.place(rows) for table in self._all.attention.get(layer, ())]
        self._removals[layer] = [table.place(rows) for table in self._all.removals]
        added = [table.place(rows) for table in self._all.residual.get(layer, ())]
        late = [table.place(rows) for table in self._all.late.get(layer, ())]
        self._residual[layer] = [*added, *self._removals[layer], *late]

    def __enter__(self) -> Intervention:
        try:
            for layer in self.layers:
                block, shape = self.model.blocks[layer], BatchShape()
                shape.install(block, self._stack)
                if layer in self._all.activations:
                    self._install_activations(layer, shape)
                if layer in self._all.attention:
                    hook = self._attention_hook(layer, shape)
                    self._stack.callback(self.model.attention_landing(layer).register_forward_hook(hook).remove)
                if self._all.removals:
                    self._install_removals(layer, shape)
                if layer in self._all.residual or layer in self._all.late or self._all.removals:
                    handle = block.register_forward_hook(self._residual_hook(layer), prepend=True)
                    self._stack.callback(handle.remove)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _install_activations(self, layer: int, shape: BatchShape) -> None:
        ffn, neurons = self.model.ffn[layer], self.model.neurons.shapes[layer]
        columns = torch.cat([table.columns for table in self._all.activations[layer]])
        if ffn.projection is not None and bool((columns >= neurons.routed).any()):
            handle = ffn.projection.register_forward_pre_hook(self._activation_hook(layer, shape))
            self._stack.callback(handle.remove)
        if ffn.routed is not None and bool((columns < neurons.routed).any()):
            hook = RoutedHook(self, layer, shape, ffn.routed)
            handle = ffn.routed.module.register_forward_hook(hook, prepend=True, with_kwargs=True)
            self._stack.callback(handle.remove)

    def _install_removals(self, layer: int, shape: BatchShape) -> None:
        block, hook = self.model.blocks[layer], self._reading_hook(layer, shape)
        if layer == 0:
            self._stack.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
        reader = self.model.ffn_reader(layer)
        if reader is not None:
            self._stack.callback(reader.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _activation_hook(self, layer: int, shape: BatchShape) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            activations = args[0].clone()
            for table in self._activations[layer][1]:
                table.apply(shape.unflatten(activations), self.first_generated or 0)
            return (activations, *args[1:])

        return hook

    def _reading_hook(self, layer: int, shape: BatchShape) -> Any:
        """On a module that reads the residual stream, which itself goes past it and is changed behind the block."""

        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            for table in self._removals[layer]:
                table.apply(shape.unflatten(hidden), self.first_generated or 0)
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        return hook

    def _residual_hook(self, layer: int) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            residual = residual_of(output).clone()
            for table in self._residual[layer]:
                table.apply(residual, self.first_generated or 0)
            return (residual, *output[1:]) if isinstance(output, tuple) else residual

        return hook

    def _attention_hook(self, layer: int, shape: BatchShape) -> Any:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            changed = output.clone()
            for table in self._pushes[layer]:
                # The block still multiplies what lands here.
                scaled = replace(table, vectors=table.vectors / self.model.residual_multiplier)
                scaled.apply(shape.unflatten(changed), self.first_generated or 0)
            return changed

        return hook

    def routed_tables(self, layer: int) -> list[ActivationTable]:
        """What happens to the routed neurons of a layer."""
        return self._activations[layer][0]


class RoutedHook:
    """The hook on a layer's routed experts; a reader of activations finds it there and applies it to what it reads."""

    def __init__(self, intervention: Intervention, layer: int, shape: BatchShape, experts: RoutedExperts) -> None:
        self._intervention = intervention
        self._layer = layer
        self._shape = shape
        self._experts = experts

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> torch.Tensor:
        """Change the experts' output."""
        given = Routed(*map(self._shape.unflatten, (*args, *kwargs.values())))
        changed: torch.Tensor = output.clone()
        first = self._intervention.first_generated or 0
        for table in self._intervention.routed_tables(self._layer):
            table.apply_routed(self._shape.unflatten(changed), given, self._experts, first)
        return changed

    def apply(self, activations: torch.Tensor, length: int, positions: slice) -> None:
        """Change recomputed activations of some positions of a pass over `length`, in place.

        Args:
            activations: [rows, chosen positions, routed neurons].
            length: Positions in the pass.
            positions: The chosen ones.
        """
        first = self._intervention.first_generated or 0
        before = sum(position < first for position in range(length)[positions])
        for table in self._intervention.routed_tables(self._layer):
            table.apply(activations, before)


def residual_of(output: Any) -> torch.Tensor:
    """The residual stream in a block's output: a bare tensor in Transformers 5, the first of a tuple in others."""
    residual: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return residual


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
