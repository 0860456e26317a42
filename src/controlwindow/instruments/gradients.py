"""Gradients of an objective with respect to every neuron's activation, exact on every supported architecture.

What is differentiated is the FFN output m: a neuron adds (router weight)·a·column to it, so ∂F/∂a is the router weight
times column·∂F/∂m, 0 in an expert that the token is not routed to. No activation needs to be a tensor of its own,
which is what fused experts lack. The gradient through later layers, their attention and their routers' weights
included, is autograd's; which experts a later router chooses is held fixed, as the function is piecewise there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from controlwindow.errors import ScreenError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import BatchShape, measuring, residual_of
from controlwindow.instruments.objectives import Objective
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model
from controlwindow.models.directions import write_matrix

Floats = NDArray[np.float64]

Followed = Literal["linear", "log_odds", "reference"]
"""The linear F, the log-odds of target against control, or ONE's loss −log p_ref/(1 − p_ref)."""


class Gradient(NamedTuple):
    """One prompt's gradient and activations in one layer.

    Attributes:
        prompt: The prompt's number in the call.
        layer: The layer.
        gradient: ∂F/∂a at the last positions of the prompt, [positions, neurons], float32.
        activations: a there, [positions, neurons], float32.
    """

    prompt: int
    layer: int
    gradient: torch.Tensor
    activations: torch.Tensor


class Followings(NamedTuple):
    """What was followed, and what it cost.

    Attributes:
        values: F of each prompt.
        sequences: Sequences passed forward, and as many backward.
        tokens: Token positions in them, without padding.
    """

    values: list[float]
    sequences: int
    tokens: int


def activation_gradients(
    model: Model,
    prompt_ids: Sequence[Sequence[int]],
    objectives: Sequence[Objective],
    reader: Callable[[Gradient], None],
    *,
    followed: Followed = "log_odds",
    positions: int = 1,
    batch_rows: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Followings:
    """Differentiate each prompt's objective with respect to every activation at its last positions.

    The activation of a position is one variable: where an objective has several continuations, they share it.

    Args:
        model: The model; it comes back without gradients and as it was.
        prompt_ids: Prompts as token ids.
        objectives: One for each prompt.
        reader: Called for every prompt and layer, prompts by length.
        followed: What is differentiated.
        positions: How many of the prompt's last positions.
        batch_rows: Most rows of a pass; a prompt's continuations stay together.
        progress: Called with prompts done and prompts in all.

    Raises:
        ScreenError: A gradient could not be taken, or is not finite.
    """
    values = [0.0] * len(prompt_ids)
    sequences = tokens = done = 0
    shortest = min(map(len, prompt_ids))
    positions = min(positions, shortest)
    # By length, so that little is padded: what is padded is passed forward and backward.
    order = sorted(range(len(prompt_ids)), key=lambda prompt: (len(prompt_ids[prompt]), prompt))
    while done < len(order):
        end, rows = done + 1, len(objectives[order[done]].rows)
        while end < len(order) and rows + len(objectives[order[end]].rows) <= batch_rows:
            rows += len(objectives[order[end]].rows)
            end += 1
        chosen = order[done:end]
        owners = [place for place, prompt in enumerate(chosen) for _ in objectives[prompt].rows]
        packed = pack(
            model,
            [prompt_ids[prompt] for prompt in chosen for _ in objectives[prompt].rows],
            [text for prompt in chosen for text in objectives[prompt].rows],
        )
        found = _differentiate(
            model, packed, [objectives[prompt] for prompt in chosen], owners, reader, chosen, followed, positions
        )
        for prompt, value in zip(chosen, found, strict=True):
            values[prompt] = value
        sequences += len(owners)
        # The last token of a continuation emits nothing that is scored, but it is read.
        tokens += int(packed.attention_mask.sum())
        done = end
        if progress is not None:
            progress(done, len(prompt_ids))
    return Followings(values, sequences, tokens)


def _differentiate(
    model: Model,
    packed: Sequences,
    objectives: Sequence[Objective],
    owners: Sequence[int],
    reader: Callable[[Gradient], None],
    prompts: Sequence[int],
    followed: Followed,
    positions: int,
) -> list[float]:
    span = slice(packed.first_generated + 1 - positions, packed.first_generated + 1)
    firsts = [owners.index(place) for place in range(len(objectives))]
    read = _Reading(model)
    with measuring(model), _without_parameter_gradients(model), torch.enable_grad(), ExitStack() as stack:
        moved = _MovedOutputs(model, torch.tensor(owners, device=model.device), len(objectives), span, stack)
        stack.enter_context(
            capturing(model, activations=read.activations, routing=read.routing, gates=read.gates, positions=span)
        )
        logits = packed.logits(model)
        losses = []
        row = 0
        for objective in objectives:
            count = len(objective.rows)
            losses.append(_loss(objective, logits[row : row + count], followed))
            row += count
        try:
            gradients = torch.autograd.grad(torch.stack(losses).sum(), moved.offsets)
        except RuntimeError as error:
            if "memory" in str(error).lower():
                raise
            raise ScreenError(
                f"no gradient of {model.name} can be taken: {str(error).splitlines()[0]}",
                "use a screen of forward passes (contrastive, window, perturbation, causal), or load the model with "
                'attn_implementation="eager"',
            ) from error
    for layer, gradient in enumerate(gradients):
        if not bool(torch.isfinite(gradient).all()):
            raise ScreenError(
                f"the gradient in layer {layer} of {model.name} is not finite",
                "gradients that overflow half precision are taken in full with --dtype float32",
            )
        # The output is differentiated before a residual multiplier, which the written column already has.
        written = (gradient / model.residual_multiplier).float() @ write_matrix(model, layer).float()
        weights = read.write_weights(layer, firsts)
        if weights is not None:
            written = written * weights
        activations = read.found[layer][firsts].float()
        for place, prompt in enumerate(prompts):
            reader(Gradient(prompt, layer, written[place], activations[place]))
    return [float(value.detach()) for value in losses]


def _loss(objective: Objective, logits: torch.Tensor, followed: Followed) -> torch.Tensor:
    if followed == "linear":
        return objective.linear(logits)
    if followed == "log_odds":
        return objective.log_odds(logits)
    return -objective.reference_log_odds(logits)


class _MovedOutputs:
    """Adds to each layer's FFN output an offset of 0 that gradients are taken of, one for each prompt and position."""

    def __init__(self, model: Model, owners: torch.Tensor, prompts: int, span: slice, stack: ExitStack) -> None:
        self._owners, self._span = owners, span
        self.offsets = [
            torch.zeros(
                (prompts, span.stop - span.start, model.d_model),
                device=model.device,
                dtype=model.dtype,
                requires_grad=True,
            )
            for _ in range(model.layers)
        ]
        for layer, ffn in enumerate(model.ffn):
            shape = BatchShape()
            shape.install(model.blocks[layer], stack)
            handle = ffn.output.register_forward_hook(self._hook(layer, shape), prepend=True)
            stack.callback(handle.remove)

    def _hook(self, layer: int, shape: BatchShape) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            values = residual_of(output)
            whole = shape.unflatten(values)
            extra = torch.zeros_like(whole)
            extra[:, self._span] = self.offsets[layer][self._owners]
            moved = (whole + extra).view(values.shape)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return hook


class _Reading:
    """Activations and router weights of one pass at the positions of interest."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.found: dict[int, torch.Tensor] = {}
        self._routes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._gates: dict[int, torch.Tensor] = {}

    def activations(self, layer: int, values: torch.Tensor) -> None:
        self.found[layer] = values.detach().clone()

    def routing(self, layer: int, routes: torch.Tensor, weights: torch.Tensor) -> None:
        self._routes[layer] = routes.detach().clone(), weights.detach().clone()

    def gates(self, layer: int, weights: torch.Tensor) -> None:
        self._gates[layer] = weights.detach().clone()

    def write_weights(self, layer: int, rows: Sequence[int]) -> torch.Tensor | None:
        """What multiplies each neuron's write, [rows, positions, neurons]; None where it is 1 everywhere."""
        if layer not in self._routes and layer not in self._gates:
            return None
        return write_weights(
            self._model,
            layer,
            None if layer not in self._routes else tuple(part[list(rows)] for part in self._routes[layer]),
            None if layer not in self._gates else self._gates[layer][list(rows)],
            self.found[layer][list(rows)],
        )


def write_weights(
    model: Model,
    layer: int,
    routing: tuple[torch.Tensor, ...] | None,
    gates: torch.Tensor | None,
    like: torch.Tensor,
) -> torch.Tensor:
    """Router weight of every neuron of a layer, in the order of `model.neurons`.

    Args:
        model: The model.
        layer: The layer.
        routing: Experts and router weights of each position, [rows, positions, k] each; None in a dense layer.
        gates: Weight of a gated shared expert, [rows, positions]; None where there is none.
        like: Activations of the layer, [rows, positions, neurons].

    Returns:
        [rows, positions, neurons]; 0 for experts that a position is not routed to, 1 for neurons that nothing weighs.
    """
    shape = model.neurons.shapes[layer]
    weights = torch.ones_like(like, dtype=torch.float32)
    if routing is not None:
        routes, values = routing
        experts = torch.zeros((*like.shape[:2], shape.experts), device=like.device)
        experts.scatter_add_(-1, routes.long(), values.float())
        weights[..., : shape.routed] = experts.repeat_interleave(shape.expert_width, -1)
    if gates is not None:
        weights[..., shape.routed :] = gates[..., None].float()
    return weights


def last_activations(model: Model, prompt_ids: Sequence[Sequence[int]], *, batch_rows: int = 32) -> list[Floats]:
    """Every neuron's activation at the last position of each prompt, by layer [prompts, neurons]."""
    found: list[list[Floats]] = [[] for _ in range(model.layers)]
    for start in range(0, len(prompt_ids), batch_rows):
        batch = model.pad(prompt_ids[start : start + batch_rows])
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        options = model.forward_options(batch["attention_mask"], positions)

        def read(layer: int, values: torch.Tensor) -> None:
            found[layer].append(values[:, 0].double().cpu().numpy())

        with measuring(model), capturing(model, activations=read, positions=slice(-1, None)):
            model.decoder(input_ids=batch["input_ids"], **options)
    return [np.concatenate(parts) for parts in found]


@contextmanager
def _without_parameter_gradients(model: Model) -> Iterator[None]:
    """Parameters need no gradients here, and what would be kept for them is the largest part of the memory."""
    asked = [parameter for parameter in model.hf_model.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
