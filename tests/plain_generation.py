"""The slow reference: Transformers' own `generate`, one prompt and one dose at a time, with a hook of its own.

It shares no code with the package: a dose is added to the projection's *output* as a multiple of the raw weight
column, the residual is read by a hook of this file, and prompts are neither padded nor batched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

import reference_ffn
import tiny_models
from controlwindow.instruments.dosing import Dose
from controlwindow.instruments.operations import Add, Inject, Operation, Pin, Scale
from controlwindow.models import Model

TIE = 1e-4


class Plain(NamedTuple):
    """What the reference generated: tokens, top-two margins and cosines step by step."""

    tokens: list[int]
    margins: list[float]
    cosines: list[float]

    @property
    def first_tie(self) -> int:
        """Steps that are decided; from here on two correct implementations may differ."""
        return next((step for step, margin in enumerate(self.margins) if margin < TIE), len(self.tokens))


def changed(operation: Any, activation: torch.Tensor, budgets: dict[Any, float]) -> torch.Tensor:
    """The activation after an operation."""
    match operation:
        case Dose():
            return activation + operation.t * budgets[operation.neuron]
        case Add():
            return activation + operation.alpha
        case Pin():
            return torch.full_like(activation, operation.value)
        case Scale():
            return activation * operation.factor
    raise AssertionError(operation)


@contextmanager
def edited(model: Model, operations: Sequence[Operation], budgets: dict[Any, float]) -> Iterator[None]:
    """Apply operations to batches of one row, by replacing the projection's forward."""
    with ExitStack() as stack:
        for layer in range(model.layers):
            mine = [o for o in operations if not isinstance(o, Inject) and o.neuron.layer == layer]
            routed = [o for o in mine if o.neuron.expert is not None]
            plain = [o for o in mine if o.neuron.expert is None]
            if plain:
                stack.enter_context(_projection_edited(model, layer, plain, budgets))
            if routed:
                stack.enter_context(_experts_edited(model, layer, routed, budgets))
            vectors = [o for o in operations if isinstance(o, Inject) and o.layer == layer]
            if vectors:
                hook = _Injector(vectors)
                stack.callback(tiny_models.block(model, layer).register_forward_hook(hook).remove)
        yield


@contextmanager
def _projection_edited(
    model: Model, layer: int, operations: Sequence[Any], budgets: dict[Any, float]
) -> Iterator[None]:
    module = tiny_models.projection(model, layer)
    original, calls = module.forward, 0

    def forward(given: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        # One row: where the FFN is given tokens only, they are its positions.
        activations = given.view(1, -1, given.shape[-1])
        output, first = original(activations), calls == 0
        calls += 1
        current = {o.neuron.index: activations[..., o.neuron.index] for o in operations}
        for operation in operations:
            index = operation.neuron.index
            after = changed(operation, current[index], budgets)
            if first and operation.positions == "generated":
                after = torch.cat([current[index][:, :-1], after[:, -1:]], 1)
            output = output + (after - current[index])[..., None] * tiny_models.column(model, layer, index)
            current[index] = after
        return output.view(*given.shape[:-1], -1)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward


@contextmanager
def _experts_edited(model: Model, layer: int, operations: Sequence[Any], budgets: dict[Any, float]) -> Iterator[None]:
    """Routed experts, token by token, with some activations changed."""
    experts, calls = tiny_models.block(model, layer).mlp.experts, 0
    activation = getattr(model.hf_model.config, "hidden_act", "silu")

    def forward(hidden: torch.Tensor, routes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        first = calls == 0
        calls += 1

        def edit(token: int, expert: int, activations: torch.Tensor) -> torch.Tensor:
            activations = activations.clone()
            for operation in operations:
                waits = first and operation.positions == "generated" and token < len(hidden) - 1
                if operation.neuron.expert == expert and not waits:
                    index = operation.neuron.index
                    activations[index] = changed(operation, activations[index], budgets)
            return activations

        return reference_ffn.experts_by_token(experts, activation, hidden, routes, weights, edit)[0]

    experts.forward = forward
    try:
        yield
    finally:
        del experts.forward


class _Injector:
    def __init__(self, operations: Sequence[Inject]) -> None:
        self.operations, self.calls = operations, 0

    def __call__(self, _module: Any, _args: Any, output: Any) -> Any:
        residual = (output[0] if isinstance(output, tuple) else output).clone()
        for operation in self.operations:
            begin = residual.shape[1] - 1 if self.calls == 0 and operation.positions == "generated" else 0
            residual[:, begin:] += operation.vector
        self.calls += 1
        return (residual, *output[1:]) if isinstance(output, tuple) else residual


def generate(
    model: Model,
    prompt_ids: Sequence[int],
    operations: Sequence[Operation],
    max_new_tokens: int,
    budgets: dict[Any, float] | None = None,
) -> Plain:
    """Greedy decoding by Transformers under operations, with the cosine of the first operation's write at each step."""
    site, direction = _measured(model, operations)
    seen: list[torch.Tensor] = []

    def read(_module: Any, _args: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0, -1].clone())

    ids = torch.tensor([list(prompt_ids)])
    with edited(model, operations, budgets or {}):
        handle = tiny_models.block(model, site).register_forward_hook(read)
        try:
            found = model.hf_model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=max_new_tokens,
                return_dict_in_generate=True,
                output_logits=True,
                pad_token_id=0,
            )
        finally:
            handle.remove()
    top = [step[0].topk(2).values for step in found.logits]
    return Plain(
        tokens=found.sequences[0, len(prompt_ids) :].tolist(),
        margins=[float(values[0] - values[1]) for values in top],
        cosines=[float(torch.dot(r, direction) / r.norm() / direction.norm()) for r in seen],
    )


def _measured(model: Model, operations: Sequence[Operation]) -> tuple[int, torch.Tensor]:
    if not operations:
        return 0, torch.ones(model.d_model)
    first = operations[0]
    if isinstance(first, Inject):
        return first.layer, first.vector
    amount = first.t if isinstance(first, Dose) else first.alpha if isinstance(first, Add) else 1.0
    if first.neuron.expert is None:
        column = tiny_models.column(model, first.neuron.layer, first.neuron.index)
    else:
        down = tiny_models.block(model, first.neuron.layer).mlp.experts.down_proj[first.neuron.expert].detach()
        transposed = hasattr(tiny_models.block(model, first.neuron.layer).mlp.experts, "gate_up_proj_bias")
        column = down[first.neuron.index] if transposed else down[:, first.neuron.index]
    return first.neuron.layer, -column if amount < 0 else column
