"""One block's FFN as the instruments see it: where activations are, what they write, what happens to the sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from controlwindow.errors import ArchitectureError
from controlwindow.models.adapters import Experts, Family
from controlwindow.models.neuron import LayerShape, Neuron


@dataclass(frozen=True, eq=False)
class PostNorm:
    """The RMS norm between a block's FFN output m and the residual add.

    Attributes:
        module: The norm.
        epsilon: What is added to the mean square.
        family: The family, which says what is added to the stored gain.
    """

    module: nn.Module
    epsilon: float
    family: Family

    @property
    def gain(self) -> torch.Tensor:
        """Effective gain γ (offset included), [d_model], float32; read anew, as the norm may be edited."""
        return effective_gain(self.module, self.family)

    def write(self, output: torch.Tensor) -> torch.Tensor:
        """What lands in the residual stream: γ⊙m/sqrt(mean(m²) + ε), [..., d_model], float32."""
        output = output.float()
        return self.gain * output * torch.rsqrt(output.square().mean(-1, keepdim=True) + self.epsilon)

    def derivative(self, output: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """Derivative of `write` at m along a direction, both [..., d_model], float32."""
        output, direction = output.float(), direction.float()
        scale = torch.rsqrt(output.square().mean(-1, keepdim=True) + self.epsilon)
        along = (output * direction).mean(-1, keepdim=True)
        return self.gain * scale * (direction - output * along * scale.square())

    def limit(self, direction: torch.Tensor) -> torch.Tensor:
        """What `write` tends to under an unbounded dose of a direction: √d·γ⊙v/‖v‖, [..., d_model], float32."""
        direction = direction.float()
        length: torch.Tensor = direction.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return self.gain * direction * (math.sqrt(direction.shape[-1]) / length)


@dataclass(frozen=True, eq=False)
class RoutedExperts:
    """Experts whose weights are 3-D parameters. Their activations are inputs of no module.

    Attributes:
        module: The experts.
        entry: How the family lays them out.
        count: Number of experts.
        width: Neurons of each.
    """

    module: Any
    entry: Experts
    count: int
    width: int

    def columns(self, experts: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """What a unit of each activation writes at unit router weight, [neurons, d_model]."""
        down = self.module.down_proj.detach()
        columns: torch.Tensor
        if self.entry.layout == "output_first":
            columns = down[experts, :, indices]
        else:
            columns = down[experts, indices]
        return columns

    def matrix(self) -> torch.Tensor:
        """Every column, experts by number, [d_model, count·width]; a copy."""
        down = self.module.down_proj.detach()
        if self.entry.layout == "output_first":
            return torch.as_tensor(down).permute(1, 0, 2).flatten(1)
        return torch.as_tensor(down).flatten(0, 1).T

    def norms(self) -> torch.Tensor:
        """Length of every column, [count·width], float32; one expert at a time, since all at once need not fit."""
        axis = 0 if self.entry.layout == "output_first" else 1
        return torch.cat([expert.float().norm(dim=axis) for expert in self.module.down_proj.detach()])

    def activations_of(self, hidden: torch.Tensor, experts: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Activation of single neurons, as if every token were routed to their experts.

        Args:
            hidden: What the experts were given, [neurons, positions, d_model], one row for each neuron.
            experts: [neurons].
            indices: [neurons].

        Returns:
            [neurons, positions].
        """
        if self.entry.fused == "chunked":
            gate_rows, up_rows = indices, self.width + indices
        else:
            gate_rows, up_rows = 2 * indices, 2 * indices + 1
        weight = self.module.gate_up_proj.detach()
        parts = []
        for rows in (gate_rows, up_rows):
            vectors = weight[experts, rows] if self.entry.layout == "output_first" else weight[experts, :, rows]
            part = torch.einsum("kpd,kd->kp", hidden, vectors)
            if self.entry.biased:
                part = part + self.module.gate_up_proj_bias.detach()[experts, rows][:, None]
            parts.append(part)
        return self._activate(parts[0], parts[1])

    def activations(self, hidden: torch.Tensor, routes: torch.Tensor) -> torch.Tensor:
        """Every neuron's activation, recomputed from the gate and up parameters.

        Args:
            hidden: What the experts were given, [tokens, d_model].
            routes: Experts each token is routed to, [tokens, k].

        Returns:
            [tokens, count·width]; 0 for experts a token is not routed to.
        """
        found = hidden.new_zeros(len(hidden), self.count, self.width)
        for expert in sorted(set(routes.flatten().tolist())):
            tokens = (routes == expert).any(-1).nonzero()[:, 0]
            weight = self.module.gate_up_proj.detach()[expert]
            if self.entry.layout == "input_first":
                weight = weight.T
            bias = self.module.gate_up_proj_bias.detach()[expert] if self.entry.biased else None
            both = functional.linear(hidden[tokens], weight, bias)
            if self.entry.fused == "chunked":
                gate, up = both.chunk(2, dim=-1)
            else:
                gate, up = both[..., ::2], both[..., 1::2]
            found[tokens, expert] = self._activate(gate, up)
        return found.flatten(1)

    def _activate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor
        if self.entry.gating == "gated":
            activated = self.module.act_fn(gate) * up
        else:
            gate = gate.clamp(max=self.module.limit)
            up = up.clamp(min=-self.module.limit, max=self.module.limit)
            activated = (up + 1) * gate * torch.sigmoid(self.module.alpha * gate)
        return activated


@dataclass(frozen=True, eq=False)
class FeedForward:
    """One block's FFN.

    Attributes:
        layer: Its block.
        family: Its family.
        projection: Output projection of the dense FFN or of the shared expert; a dose enters at its input. None where
            all experts are routed.
        routed: The routed experts, if there are any.
        shared_gate: The projection whose sigmoid is the shared expert's router weight.
        output: The module whose output (the first of a tuple) is the FFN output m.
        post_norm: The norm of m before the residual add.
        multiplier: What m is multiplied by before the residual add.
    """

    layer: int
    family: Family
    projection: nn.Module | None
    routed: RoutedExperts | None
    shared_gate: nn.Module | None
    output: nn.Module
    post_norm: PostNorm | None
    multiplier: float

    @property
    def weight(self) -> torch.Tensor | None:
        """The projection's weight as [d_model, neurons], a view of what it is now; None where all are routed."""
        return None if self.projection is None else output_weight(self.projection, self.family)

    @property
    def shape(self) -> LayerShape:
        """How many neurons there are."""
        weight = self.weight
        width = 0 if weight is None else weight.shape[1]
        if self.routed is None:
            return LayerShape(0, 0, width)
        return LayerShape(self.routed.count, self.routed.width, width)

    def column(self, neuron: Neuron) -> torch.Tensor:
        """A neuron's raw column, times the residual multiplier, at unit router weight, [d_model]; a copy."""
        if neuron.expert is None:
            weight = self.weight
            assert weight is not None
            column = weight[:, neuron.index].clone()
        else:
            assert self.routed is not None
            device = self.routed.module.down_proj.device
            expert, index = (torch.tensor([i], device=device) for i in (neuron.expert, neuron.index))
            column = self.routed.columns(expert, index)[0]
        return column if self.multiplier == 1 else column * self.multiplier

    def matrix(self) -> torch.Tensor:
        """Raw columns of every neuron, [d_model, neurons]; a view of the weights where one can be had."""
        parts = []
        if self.routed is not None:
            parts.append(self.routed.matrix())
        weight = self.weight
        if weight is not None:
            parts.append(weight)
        matrix = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return matrix if self.multiplier == 1 else matrix * self.multiplier

    def norms(self) -> torch.Tensor:
        """Length of every raw column, [neurons], float32."""
        parts = []
        if self.routed is not None:
            parts.append(self.routed.norms())
        weight = self.weight
        if weight is not None:
            parts.append(weight.float().norm(dim=0))
        return torch.cat(parts) * abs(self.multiplier)

    def output_weights(self) -> list[torch.Tensor]:
        """Every parameter that holds columns of this FFN."""
        weight = self.weight
        dense = [] if weight is None else [weight]
        return dense if self.routed is None else [*dense, self.routed.module.down_proj.detach()]


def feed_forward(layer: int, block: nn.Module, family: Family, multiplier: float) -> FeedForward:
    """Find the parts of one block's FFN.

    Raises:
        AttributeError: A path of the entry leads nowhere.
        ArchitectureError: A part is not of the layout that the entry declares (a quantised or replaced module).
    """
    routed, shared_gate, path = None, None, family.ffn_output
    output: nn.Module | None = None
    entry = family.experts
    if entry is not None and _has(block, entry.module):
        experts: Any = block.get_submodule(entry.module)
        down = getattr(experts, "down_proj", None)
        if not isinstance(down, torch.Tensor) or down.ndim != 3:
            raise ArchitectureError(
                f"the experts in layer {layer} of this {family.name} model are {type(experts).__name__} without a "
                "three-dimensional parameter down_proj",
                "load the model unquantised with Transformers 5, which holds experts as 3-D parameters",
            )
        width = down.shape[2] if entry.layout == "output_first" else down.shape[1]
        routed = RoutedExperts(experts, entry, down.shape[0], width)
        shared_gate = None if entry.shared_gate is None else block.get_submodule(entry.shared_gate)
        output = block.get_submodule(entry.block)
        path = entry.shared_output or ""
    projection = block.get_submodule(path) if path else None
    post_norm = None
    if family.post_norm is not None:
        norm = block.get_submodule(family.post_norm)
        post_norm = PostNorm(norm, norm_epsilon(norm), family)
        effective_gain(norm, family)
    found = output if output is not None else projection
    assert found is not None
    if projection is not None:
        output_weight(projection, family)
    return FeedForward(
        layer=layer,
        family=family,
        projection=projection,
        routed=routed,
        shared_gate=shared_gate,
        output=found,
        post_norm=post_norm,
        multiplier=multiplier,
    )


def output_weight(projection: nn.Module, family: Family) -> torch.Tensor:
    """The output projection's weight as [d_model, neurons], a view.

    Raises:
        ArchitectureError: The module is not of the layout that the family declares (a quantised or replaced layer).
    """
    weight = getattr(projection, "weight", None)
    if not isinstance(weight, torch.Tensor) or type(projection).__name__ != family.output_class or weight.ndim != 2:
        raise ArchitectureError(
            f"the FFN output projection of this {family.name} model is {type(projection).__name__}, "
            f"expected {family.output_class} with a two-dimensional weight",
            "load the model unquantised and without adapters merged as modules",
        )
    return (weight if family.layout == "linear" else weight.T).detach()


def effective_gain(norm: nn.Module, family: Family) -> torch.Tensor:
    """A norm's gain γ with the family's offset, [d_model], float32.

    Raises:
        AttributeError: The norm has no gain.
    """
    weight = norm.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().float() + family.gain_offset


def norm_epsilon(norm: nn.Module) -> float:
    """What an RMS norm adds to the mean square.

    Raises:
        AttributeError: The module is no norm.
    """
    for name in ("variance_epsilon", "eps"):
        if hasattr(norm, name):
            return float(getattr(norm, name))
    raise AttributeError(f"{type(norm).__name__} has no epsilon")


def _has(block: nn.Module, path: str) -> bool:
    try:
        block.get_submodule(path)
    except AttributeError:
        return False
    return True
