"""The hooks prove themselves before a sweep: the residual moves by what the method says, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from controlwindow.errors import OperationError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.finite import not_finite
from controlwindow.instruments.generic import default_prompts
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write, write_norms


def prove_hooks(model: Model, layers: Sequence[int] | None = None) -> float:
    """Check on real prompts that a dose does what the method says, layer by layer.

    For one neuron a layer (in a mixture of experts one of a routed expert that the prompts use, and one of the shared
    expert), with prompts of different length in one batch and both branches: the residual at the block's output moves
    by w·α·v at every position under `all`, from the last prompt position on under `generated`, and not at all in an
    undosed row beside. w is 1, or the router weight, 0 on tokens routed elsewhere. Under a post-FFN norm f the move is
    f(m + w·α·v) − f(m). Afterwards the unhooked model's logits are bitwise what they were.

    Args:
        model: The model.
        layers: Layers to check; default all.

    Returns:
        The largest error found, relative to the length of the move.

    Raises:
        OperationError: A check failed; nothing measured with these hooks could be trusted.
        ModelError: The model gives logits that are not finite, without any hook.
    """
    batch = _Batch(model)
    before = batch.logits()
    if not bool(torch.isfinite(before[batch.real]).all()):
        raise not_finite(model, batch.longest)
    worst = 0.0
    for layer in range(model.layers) if layers is None else sorted(set(layers)):
        undosed = batch.run(layer)
        for neuron in _neurons(model, layer, undosed, batch.real):
            worst = max(worst, _prove(model, batch, undosed, neuron))
    if not torch.equal(before, batch.logits()):
        raise OperationError("hook self-proof failed: the unhooked model no longer gives the logits it gave before")
    return worst


@dataclass(frozen=True)
class _Passed:
    """What passed one layer: residual and FFN output, [rows, positions, d_model]; routing and gate where there are."""

    residual: torch.Tensor
    output: torch.Tensor
    experts: torch.Tensor | None
    weights: torch.Tensor | None
    gate: torch.Tensor | None


class _Batch:
    """A long and a short prompt, twice each, in one left-padded batch."""

    def __init__(self, model: Model) -> None:
        prompts = sorted(default_prompts(model), key=lambda p: (len(p), p))
        short, long = prompts[0], prompts[-1]
        encoded = model.encode([long, short, long, short])
        mask = encoded["attention_mask"]
        self.model = model
        self.real = mask.bool()
        self.longest = encoded["input_ids"][0].tolist()
        self.width = mask.shape[1]
        self._inputs = {
            "input_ids": encoded["input_ids"],
            **model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0)),
        }
        self._given: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def logits(self) -> torch.Tensor:
        """A whole pass; what every block is given in it is kept."""
        with measuring(self.model), ExitStack() as stack:
            for layer, block in enumerate(self.model.blocks):
                handle = block.register_forward_pre_hook(self._keeper(layer), with_kwargs=True)
                stack.callback(handle.remove)
            logits: torch.Tensor = self.model.hf_model(**self._inputs).logits
        return logits

    def _keeper(self, layer: int) -> Callable[..., None]:
        def keep(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._given.setdefault(
                layer,
                (
                    tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args),
                    {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in kwargs.items()},
                ),
            )

        return keep

    def run(self, layer: int, intervention: Intervention | None = None) -> _Passed:
        """One block alone, on what it is given in a pass without hooks: no layer below it is part of the proof."""
        seen: dict[str, torch.Tensor] = {}

        def routing(_layer: int, experts: torch.Tensor, weights: torch.Tensor) -> None:
            seen.update(experts=experts.clone(), weights=weights.float())

        with ExitStack() as stack:
            stack.enter_context(measuring(self.model))
            if intervention is not None:
                stack.enter_context(intervention)
            stack.enter_context(
                capturing(
                    self.model,
                    residuals=lambda _, r: seen.update(residual=r.clone()),
                    ffn_outputs=lambda _, m: seen.update(output=m.clone()),
                    gates=lambda _, g: seen.update(gate=g.float()),
                    routing=routing,
                    layers=[layer],
                )
            )
            args, kwargs = self._given[layer]
            self.model.blocks[layer](*args, **kwargs)
        return _Passed(seen["residual"], seen["output"], seen.get("experts"), seen.get("weights"), seen.get("gate"))


def _neurons(model: Model, layer: int, passed: _Passed, real: torch.Tensor) -> list[Neuron]:
    """The longest write of the expert that most tokens are routed to, and of the dense FFN or shared expert."""
    shape, norms = model.neurons.shapes[layer], write_norms(model, layer)
    chosen = []
    if passed.experts is not None:
        expert = int(passed.experts[real].flatten().mode().values)
        chosen.append(expert * shape.expert_width + int(norms[: shape.routed].view(shape.experts, -1)[expert].argmax()))
    if shape.width:
        chosen.append(shape.routed + int(norms[shape.routed :].argmax()))
    return [model.neurons.at(layer, column) for column in chosen]


def _prove(model: Model, batch: _Batch, undosed: _Passed, neuron: Neuron) -> float:
    layer, real, first = neuron.layer, batch.real, batch.width - 1
    share = _share(undosed, neuron, real)
    write, norm = raw_write(model, neuron).float(), model.post_norm(layer)
    scale = undosed.residual if norm is None else undosed.output
    alpha = float(scale[real].float().norm(dim=-1).median() / write.norm())
    rows = [(Add(neuron, alpha),), (Add(neuron, -alpha),), (Add(neuron, alpha, "generated"),), ()]
    intervention = Intervention(model, rows)
    intervention.first_generated = first
    moved = (batch.run(layer, intervention).residual - undosed.residual).float()

    doses = alpha * torch.tensor([1.0, -1.0, 1.0, 0.0], device=share.device)[:, None] * share
    doses[2, :first] = 0
    expected = doses[..., None] * write
    if norm is not None:
        expected = norm.write(undosed.output.float() + expected) - norm.write(undosed.output)
    where = f"layer {layer} ({neuron})"
    if bool(moved[3][real[3]].any()):
        raise OperationError(f"hook self-proof failed in {where}: a dose reached an undosed row of the batch")
    if bool(moved[(doses == 0) & real].any()):
        raise OperationError(f"hook self-proof failed in {where}: a dose reached a position that it is not meant for")
    length = expected.norm(dim=-1)[real].max()
    error = float((moved - expected).norm(dim=-1)[real].max() / length)
    # Rounding of the residual and of the projection that the moved activation went through.
    tolerance = 64 * torch.finfo(model.dtype).eps * (1 + float(undosed.residual[real].float().abs().max()) ** 0.5)
    if not error <= tolerance:
        raise OperationError(
            f"hook self-proof failed in {where}: the residual moved by something else than α·v "
            f"(relative error {error:.2e}, tolerance {tolerance:.2e})",
            "the adapter of this architecture does not describe this model; please report it",
        )
    return error


def _share(passed: _Passed, neuron: Neuron, real: torch.Tensor) -> torch.Tensor:
    """What a unit of a neuron's activation is multiplied by at each position, [rows, positions]."""
    if neuron.expert is not None:
        assert passed.experts is not None
        assert passed.weights is not None
        return (passed.weights * (passed.experts == neuron.expert)).sum(-1)
    if passed.gate is not None:
        return passed.gate
    return torch.ones(real.shape, device=real.device)
