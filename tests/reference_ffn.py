"""FFNs computed slowly and edited by hand: the reference for directions, hooks and activations.

Nothing here uses the package's hooks or its adapters. An edit replaces the `forward` of one module of one layer, so the
model computes with the edited activation by itself; routed experts are computed token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.activations import ACT2FN

import tiny_models
from controlwindow.models import Model, Neuron

Edit = Callable[[torch.Tensor], torch.Tensor]
"""Activations of one neuron at some positions, and what they become."""


@dataclass(frozen=True)
class Passed:
    """What one unpadded sequence leaves in a layer, [positions, …].

    Attributes:
        residual: The block's output.
        output: The FFN output before a post-FFN norm.
        activations: Every neuron's activation, routed experts first, 0 where a token is not routed.
        routes: Experts of each token; None in a dense layer.
        weights: Their router weights.
        gate: The shared expert's weight.
    """

    residual: torch.Tensor
    output: torch.Tensor
    activations: torch.Tensor
    routes: torch.Tensor | None
    weights: torch.Tensor | None
    gate: torch.Tensor | None

    def share(self, neuron: Neuron) -> torch.Tensor:
        """What a unit of a neuron's activation is multiplied by at each position."""
        if neuron.expert is not None:
            assert self.routes is not None
            assert self.weights is not None
            return torch.where(self.routes == neuron.expert, self.weights.float(), 0.0).sum(-1)
        return torch.ones(len(self.residual)) if self.gate is None else self.gate


def run(model: Model, ids: Sequence[int], layer: int, neuron: Neuron | None = None, edit: Edit | None = None) -> Passed:
    """One sequence through the model, with one neuron of the layer edited."""
    block, seen = tiny_models.block(model, layer), dict[str, Any]()
    experts = getattr(getattr(block, "mlp", None), "experts", None)
    with ExitStack() as stack:
        stack.enter_context(_hook(block, lambda out: seen.update(residual=_first(out)[0].clone())))
        if experts is None or hasattr(block.mlp, "shared_expert"):
            projection = tiny_models.projection(model, layer)
            index = neuron.index if neuron is not None and neuron.expert is None else None
            stack.enter_context(_edited_projection(projection, index, edit, seen))
        if experts is not None:
            stack.enter_context(_edited_experts(model, experts, neuron, edit, seen))
            stack.enter_context(_hook(block.mlp, lambda out: seen.update(output=_first(out)[0].clone())))
            if hasattr(block.mlp, "shared_expert_gate"):
                stack.enter_context(
                    _hook(block.mlp.shared_expert_gate, lambda out: seen.update(gate=out.sigmoid().flatten()))
                )
        tiny_models.forward(model, ids)
    parts = [seen[part] for part in ("routed", "dense") if part in seen]
    output = seen["output"] if "output" in seen else seen["projected"]
    return Passed(
        residual=seen["residual"],
        output=output.reshape(len(ids), -1),
        activations=torch.cat(parts, -1),
        routes=seen.get("routes"),
        weights=seen.get("weights"),
        gate=seen.get("gate"),
    )


def experts_by_token(
    experts: Any, activation: str, hidden: torch.Tensor, routes: torch.Tensor, weights: torch.Tensor, edit: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Routed experts, one token and one route at a time.

    Returns:
        Their output, [tokens, d_model], and all activations, [tokens, experts·width].
    """
    biased = hasattr(experts, "gate_up_proj_bias")
    width = experts.down_proj.shape[1] if biased else experts.down_proj.shape[2]
    output = torch.zeros_like(hidden)
    activations = hidden.new_zeros(len(hidden), len(experts.down_proj), width)
    for token in range(len(hidden)):
        for slot in range(routes.shape[1]):
            expert = int(routes[token, slot])
            if biased:  # gpt-oss: transposed, interleaved, clamped
                both = hidden[token] @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
                gate, up = both.view(width, 2).unbind(-1)
                gate, up = gate.clamp(max=experts.limit), up.clamp(-experts.limit, experts.limit)
                a = (up + 1) * (gate * torch.sigmoid(1.702 * gate))
            else:
                both = experts.gate_up_proj[expert] @ hidden[token]
                a = ACT2FN[activation](both[:width]) * both[width:]
            if edit is not None:
                a = edit(token, expert, a)
            activations[token, expert] = a
            if biased:
                written = a @ experts.down_proj[expert] + experts.down_proj_bias[expert]
            else:
                written = experts.down_proj[expert] @ a
            output[token] += (weights[token, slot] * written).to(output.dtype)
    return output, activations.flatten(1)


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _hook(module: torch.nn.Module, read: Callable[[Any], None]) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _m, _a, output: read(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced(module: torch.nn.Module, forward: Any) -> Iterator[None]:
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def _edited_projection(projection: torch.nn.Module, index: int | None, edit: Edit | None, seen: dict[str, Any]) -> Any:
    original = projection.forward

    def forward(activations: torch.Tensor) -> torch.Tensor:
        if index is not None and edit is not None:
            flat = activations.clone().view(-1, activations.shape[-1])
            flat[:, index] = edit(flat[:, index])
            activations = flat.view(activations.shape)
        seen["dense"] = activations.reshape(-1, activations.shape[-1]).clone()
        projected: torch.Tensor = original(activations)
        seen["projected"] = projected.clone()
        return projected

    return _replaced(projection, forward)


def _edited_experts(
    model: Model, experts: torch.nn.Module, neuron: Neuron | None, edit: Edit | None, seen: dict[str, Any]
) -> Any:
    # Without an edit the experts compute as they always do, so that the reference is compared with them.
    original, activation = experts.forward, getattr(model.hf_model.config, "hidden_act", "silu")

    def forward(hidden: torch.Tensor, routes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        def edited(token: int, expert: int, a: torch.Tensor) -> torch.Tensor:
            if neuron is not None and edit is not None and expert == neuron.expert:
                # The edit sees all positions of a dense neuron; here it is given this token's place among them.
                whole = torch.zeros(len(hidden))
                whole[token] = a[neuron.index]
                a = a.clone()
                a[neuron.index] = edit(whole)[token]
            return a

        output, activations = experts_by_token(experts, activation, hidden, routes, weights, edited)
        seen.update(routed=activations, routes=routes.clone(), weights=weights.clone())
        return original(hidden, routes, weights) if edit is None else output

    return _replaced(experts, forward)


def neurons_of(model: Model, passed: Passed, layer: int) -> list[Neuron]:
    """A neuron of every kind the layer has: of a routed expert that is used, of the dense FFN or the shared expert."""
    found = []
    if passed.routes is not None:
        found.append(Neuron(layer, 3, int(passed.routes.flatten().mode().values)))
    block = tiny_models.block(model, layer)
    if passed.routes is None or hasattr(block.mlp, "shared_expert"):
        found.append(Neuron(layer, 5))
    return found
