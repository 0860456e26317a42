"""Capture: activations, FFN outputs, routing and residuals as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from controlwindow.errors import OperationError
from controlwindow.instruments.hooks import BatchShape, RoutedHook, measuring, residual_of
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model, Neuron


@contextmanager
def capturing(
    model: Model,
    *,
    activations: Callable[[int, torch.Tensor], None] | None = None,
    residuals: Callable[[int, torch.Tensor], None] | None = None,
    ffn_outputs: Callable[[int, torch.Tensor], None] | None = None,
    routing: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
    gates: Callable[[int, torch.Tensor], None] | None = None,
    layers: Sequence[int] | None = None,
    positions: slice = slice(None),
) -> Iterator[None]:
    """Call back with what passes the sites of interest, while the context is open.

    What is read is what an open `Intervention` made of it, if there is one. Tensors are the model's own and may be
    changed in place later in the pass: copy what is kept. Activations of routed experts are recomputed from their gate
    and up parameters.

    Args:
        model: The model.
        activations: Called with (layer, activations [rows, positions, neurons]), all neurons of the layer in the order
            of `model.neurons`; 0 for routed experts that a token is not routed to.
        residuals: Called with (layer, residual [rows, positions, d_model]).
        ffn_outputs: Called with (layer, m [rows, positions, d_model]), the FFN output before a post-FFN norm and
            before a residual multiplier; routed and shared experts summed.
        routing: Called with (layer, experts [rows, positions, k], router weights [rows, positions, k]) in layers with
            routed experts.
        gates: Called with (layer, weight [rows, positions]) in layers with a gated shared expert.
        layers: Layers of interest; default all.
        positions: Positions of interest; the last axis but one of everything read is cut to them.

    Raises:
        OperationError: The activations read in a layer are not one for each of its neurons, or a block ran whose
            activations never passed the site.
    """
    with ExitStack() as stack:
        readers = []
        for layer in range(model.layers) if layers is None else layers:
            reader = _LayerReader(model, layer, positions, stack)
            readers.append(reader)
            if activations is not None:
                reader.read_activations(activations)
            if ffn_outputs is not None:
                reader.read_output(ffn_outputs)
            if routing is not None:
                reader.read_routing(routing)
            if gates is not None:
                reader.read_gates(gates)
            if residuals is not None:
                reader.read_residual(residuals)
        yield
        if activations is not None:
            for reader in readers:
                reader.check_passes()


class _LayerReader:
    """Installs the reading hooks of one layer on a stack."""

    def __init__(self, model: Model, layer: int, positions: slice, stack: ExitStack) -> None:
        self._layer, self._positions, self._stack = layer, positions, stack
        self._block, self._ffn = model.blocks[layer], model.ffn[layer]
        self._shape, self._given = BatchShape(), 0
        self._shape.install(self._block, stack)

    def _before(self, module: nn.Module, hook: Any) -> None:
        self._stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def _after(self, module: nn.Module, hook: Any) -> None:
        self._stack.callback(module.register_forward_hook(hook).remove)

    def _cut(self, values: torch.Tensor) -> torch.Tensor:
        return self._shape.unflatten(values)[:, self._positions]

    def read_activations(self, reader: Callable[[int, torch.Tensor], None]) -> None:
        """Routed experts and the shared one are read where they are and put together at the end of the FFN."""
        ffn, parts = self._ffn, dict[str, torch.Tensor]()

        def give(values: torch.Tensor) -> None:
            if values.shape[-1] != ffn.shape.total:
                raise OperationError(
                    f"the activations read in layer {self._layer} are {values.shape[-1]} of {ffn.shape.total} neurons",
                    "the adapter of this architecture does not describe this model; please report it",
                )
            self._given += 1
            reader(self._layer, values)

        def dense(_module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            if ffn.routed is None:
                give(self._cut(args[0]))
            else:
                parts["shared"] = self._cut(args[0])

        def routed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            assert ffn.routed is not None
            hidden, routes, _ = (*args, *kwargs.values())
            found = ffn.routed.activations(self._cut(hidden).flatten(0, 1), self._cut(routes).flatten(0, 1))
            found = found.view(self._shape.rows, -1, found.shape[-1])
            for hook in module._forward_hooks.values():
                if isinstance(hook, RoutedHook):
                    hook.apply(found, self._shape.positions, self._positions)
            parts["routed"] = found

        def together(_module: nn.Module, _args: Any, _output: Any) -> None:
            give(torch.cat([parts.pop(part) for part in ("routed", "shared") if part in parts], -1))

        if ffn.projection is not None:
            self._before(ffn.projection, dense)
        if ffn.routed is not None:
            self._before(ffn.routed.module, routed)
            self._after(ffn.output, together)

    def check_passes(self) -> None:
        if self._given != self._shape.passes:
            raise OperationError(
                f"layer {self._layer} ran {self._shape.passes} times, its activations were read {self._given} times",
                "this variant of the architecture does not run the module that its adapter names; please report it",
            )

    def read_output(self, reader: Callable[[int, torch.Tensor], None]) -> None:
        self._after(self._ffn.output, lambda _m, _a, output: reader(self._layer, self._cut(residual_of(output))))

    def read_routing(self, reader: Callable[[int, torch.Tensor, torch.Tensor], None]) -> None:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            _, routes, weights = (*args, *kwargs.values())
            reader(self._layer, self._cut(routes), self._cut(weights))

        if self._ffn.routed is not None:
            self._before(self._ffn.routed.module, hook)

    def read_gates(self, reader: Callable[[int, torch.Tensor], None]) -> None:
        if self._ffn.shared_gate is not None:
            self._after(
                self._ffn.shared_gate,
                lambda _m, _a, output: reader(self._layer, self._cut(torch.sigmoid(output))[..., 0]),
            )

    def read_residual(self, reader: Callable[[int, torch.Tensor], None]) -> None:
        self._after(self._block, lambda _m, _a, output: reader(self._layer, residual_of(output)[:, self._positions]))


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
        indices.setdefault(neuron.layer, []).append(model.neurons.column(neuron))
    seen: dict[int, list[torch.Tensor]] = {layer: [] for layer in indices}
    for start in range(0, len(pairs), batch_rows):
        packed = pack(
            model, [p for p, _ in pairs[start : start + batch_rows]], [t for _, t in pairs[start : start + batch_rows]]
        )

        def read(layer: int, values: torch.Tensor, packed: Sequences = packed) -> None:
            seen[layer].append(packed.emitted_from(values)[:, indices[layer]].float().cpu())

        options = model.forward_options(packed.attention_mask, packed.position_ids)
        with measuring(model), capturing(model, activations=read, layers=sorted(indices)):
            # The decoder alone: over a long vocabulary, logits that nobody reads would cost as much as the blocks.
            model.decoder(input_ids=packed.input_ids, **options)
    ranges = {}
    for layer, parts in seen.items():
        values = torch.cat(parts)
        for column, index in enumerate(indices[layer]):
            chosen = values[:, column]
            ranges[model.neurons.at(layer, index)] = (float(chosen.min()), float(chosen.median()), float(chosen.max()))
    return ranges
