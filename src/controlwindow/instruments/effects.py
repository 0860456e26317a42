"""What changing several neurons, or injecting a direction, does to F: teacher-forced, without a rollout.

An effect has two readings. The *total* one is F of the changed pass: later blocks see the change and may answer it.
The *direct* one leaves every later block's output as it was and lets the change reach the final norm and the readout
alone. Where both agree the circuit acts by itself; where the total stays behind, the rest of the model makes up for the
change (PP calls such a circuit shielded; this decomposition is ours, and exact in every architecture).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from controlwindow.errors import OperationError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.gradients import write_weights
from controlwindow.instruments.hooks import Intervention, measuring, residual_of
from controlwindow.instruments.objectives import Objective, TokenIds
from controlwindow.instruments.operations import Inject, Positions, Scale
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_matrix

Progress = Callable[[int, int], None]


class Reading(NamedTuple):
    """F of one pass, both forms."""

    linear: float
    log_odds: float


class SetEffect(NamedTuple):
    """What one change did to F of one prompt.

    Attributes:
        total: F of the changed pass.
        direct: F where the change reaches the readout alone.
    """

    total: Reading
    direct: Reading


class PairEffects(NamedTuple):
    """Effects on one pair.

    Attributes:
        before: F of the unchanged pass.
        after: One effect for each size of the set, in the order asked for.
    """

    before: Reading
    after: tuple[SetEffect, ...]


@dataclass(frozen=True)
class SetChange:
    """A change of the first neurons of a list, at several sizes.

    Attributes:
        neurons: The neurons, most important first.
        sizes: How many of them are changed: one pass for each.
        operation: "scale" multiplies activations; "patch" puts what the neurons write in the perturbed prompt in the
            place of what they write in the prompt, where F's texts are emitted.
        factor: For "scale".
        positions: For "scale".
    """

    neurons: tuple[Neuron, ...]
    sizes: tuple[int, ...]
    operation: Literal["scale", "patch"]
    factor: float = 0.0
    positions: Positions = "all"

    def __post_init__(self) -> None:
        if not self.sizes or not all(0 < size <= len(self.neurons) for size in self.sizes):
            raise OperationError(
                f"sizes {list(self.sizes)} do not fit a set of {len(self.neurons)} neurons",
                "ask for sizes between 1 and the number of neurons",
            )


def set_effects(
    model: Model,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    objectives: Sequence[Objective],
    change: SetChange,
    *,
    batch_rows: int = 128,
    progress: Progress | None = None,
) -> list[PairEffects]:
    """Effects of a set's change on F of every pair's prompt.

    Args:
        model: The model.
        pairs: Prompt and perturbed prompt as token ids; the latter are run for "patch" only.
        objectives: One for each pair.
        change: What is changed.
        batch_rows: Most rows of a pass; all of one pair stay together.
        progress: Called with pairs done and pairs in all.
    """
    copies = len(change.sizes) + 1 + (change.operation == "patch")
    found: list[PairEffects] = []
    with measuring(model):
        for chosen in _groups([copies * len(o.rows) for o in objectives], batch_rows):
            found += _SetBatch(model, [pairs[i] for i in chosen], [objectives[i] for i in chosen], change).run()
            if progress is not None:
                progress(len(found), len(pairs))
    return found


def injection_effects(
    model: Model,
    prompts: Sequence[Sequence[int]],
    objectives: Sequence[Objective],
    injections: Sequence[Inject],
    *,
    batch_rows: int = 128,
    progress: Progress | None = None,
) -> list[list[Reading]]:
    """F of every prompt, unchanged and under each injection, [prompts][1 + injections].

    Args:
        model: The model.
        prompts: Prompts as token ids.
        objectives: One for each prompt.
        injections: What is injected: one pass for each.
        batch_rows: Most rows of a pass; all of one prompt stay together.
        progress: Called with prompts done and prompts in all.
    """
    found: list[list[Reading]] = []
    copies = 1 + len(injections)
    with measuring(model):
        for chosen in _groups([copies * len(o.rows) for o in objectives], batch_rows):
            block = _Block(model, [prompts[i] for i in chosen], [objectives[i] for i in chosen])
            packed = block.packed.repeat(copies)
            operations = [()] * block.rows + [(o,) for o in injections for _ in range(block.rows)]
            with _intervening(model, operations, packed):
                logits = packed.logits(model)
            by_copy = [block.readings(logits[start : start + block.rows]) for start in block.starts(copies)]
            found += [list(readings) for readings in zip(*by_copy, strict=True)]
            if progress is not None:
                progress(len(found), len(prompts))
    return found


def _groups(rows: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of consecutive items of so many rows that fit a batch together, one item at least."""
    group: list[int] = []
    for place, count in enumerate(rows):
        if group and sum(rows[i] for i in group) + count > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


@contextmanager
def _intervening(model: Model, operations: Sequence[Any], packed: Sequences) -> Iterator[None]:
    with Intervention(model, operations) as intervention:
        intervention.first_generated = packed.first_generated
        yield


@dataclass
class _Block:
    """Prompts of some pairs with all texts of their objectives, the rows that are repeated for every change."""

    model: Model
    prompts: Sequence[Sequence[int]]
    objectives: Sequence[Objective]
    mates: Sequence[Sequence[int]] = ()
    rows: int = field(init=False)
    packed: Sequences = field(init=False)

    def __post_init__(self) -> None:
        texts: list[TokenIds] = [text for objective in self.objectives for text in objective.rows]
        self.rows = len(texts)
        sides = [self._repeated(self.prompts), *([self._repeated(self.mates)] if self.mates else [])]
        self.packed = pack(self.model, [prompt for side in sides for prompt in side], texts * len(sides))

    def _repeated(self, prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        return [p for p, objective in zip(prompts, self.objectives, strict=True) for _ in objective.rows]

    def starts(self, copies: int) -> list[int]:
        """Where each copy begins."""
        return [copy * self.rows for copy in range(copies)]

    def readings(self, logits: torch.Tensor) -> list[Reading]:
        """F of every prompt from one copy's logits, [rows, width, vocabulary]."""
        found, start = [], 0
        for objective in self.objectives:
            part = logits[start : start + len(objective.rows)]
            found.append(Reading(float(objective.linear(part)), float(objective.log_odds(part))))
            start += len(objective.rows)
        return found


class _SetBatch:
    """Some pairs in one pass: unchanged rows, perturbed ones where they are patched in, then one copy for each size."""

    def __init__(
        self,
        model: Model,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        objectives: Sequence[Objective],
        change: SetChange,
    ) -> None:
        self.model, self.change = model, change
        patched = change.operation == "patch"
        prompts, mates = [one for one, _ in pairs], [other for _, other in pairs] if patched else []
        self.block = _Block(model, prompts, objectives, mates)
        self.first = self.block.rows * (1 + patched)
        base = self.block.packed
        # The copies repeat the unchanged rows alone; prompts of both sides are padded to one width.
        self.packed = base.take([*range(self.first), *list(range(self.block.rows)) * len(change.sizes)])
        self.members: dict[int, list[tuple[int, int]]] = {}
        for rank, neuron in enumerate(change.neurons[: max(change.sizes)]):
            self.members.setdefault(neuron.layer, []).append((rank, model.neurons.column(model.require(neuron))))
        self._activations: dict[int, torch.Tensor] = {}
        self._routes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._gates: dict[int, torch.Tensor] = {}
        self._delta: list[torch.Tensor] = []
        self._final: torch.Tensor | None = None

    def run(self) -> list[PairEffects]:
        model, rows = self.model, self.block.rows
        span = slice(self.packed.first_generated, self.packed.first_generated + self.packed.horizon)
        norm = model.hf_model.get_submodule(model.family.final_norm)
        with ExitStack() as stack:
            if self.change.operation == "scale":
                stack.enter_context(_intervening(model, self._scalings(), self.packed))
            stack.enter_context(
                capturing(
                    model,
                    activations=lambda layer, a: self._activations.__setitem__(layer, a.clone()),
                    routing=lambda layer, r, w: self._routes.__setitem__(layer, (r, w)),
                    gates=self._gates.__setitem__,
                    layers=sorted(self.members),
                    positions=span,
                )
            )
            for layer in self.members:
                # Behind the reading hooks, so that the activations of this very pass are known.
                handle = model.ffn[layer].output.register_forward_hook(self._output_hook(layer, span))
                stack.callback(handle.remove)
            stack.callback(norm.register_forward_pre_hook(self._norm_hook(span)).remove)
            logits = self.packed.logits(model)
        assert self._final is not None
        before = self.block.readings(logits[:rows])
        totals, directs = [], []
        for place, start in enumerate(self.block.starts(len(self.change.sizes))):
            totals.append(self.block.readings(logits[self.first + start : self.first + start + rows]))
            moved = self._final[:rows].float() + self._delta[place]
            direct = model.readout(norm(moved.to(model.dtype)))
            directs.append(self.block.readings(direct))
        return [
            PairEffects(before[i], tuple(SetEffect(t[i], d[i]) for t, d in zip(totals, directs, strict=True)))
            for i in range(len(before))
        ]

    def _scalings(self) -> list[tuple[Scale, ...]]:
        change = self.change
        scalings = tuple(Scale(neuron, change.factor, change.positions) for neuron in change.neurons)
        return [()] * self.first + [scalings[:size] for size in change.sizes for _ in range(self.block.rows)]

    def _output_hook(self, layer: int, span: slice) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            whole = residual_of(output)
            shape = (len(self.packed.input_ids), -1, whole.shape[-1])
            changed = whole.clone()
            at = changed.view(shape)[:, span]
            written = self._written(layer)
            unchanged = at[: self.block.rows].float().clone()
            for place, size in enumerate(self.change.sizes):
                start = self.first + place * self.block.rows
                rows = slice(start, start + self.block.rows)
                ours = slice(0, self.block.rows)
                self._add_direct(layer, place, unchanged, self._moved(layer, size, written, ours))
                if self.change.operation == "patch":
                    at[rows] += self._moved(layer, size, written, rows).to(at.dtype)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    def _written(self, layer: int) -> torch.Tensor:
        """What each neuron of the layer writes along its column in this pass, [rows, width, neurons], float32."""
        activations = self._activations.pop(layer).float()
        routing, gates = self._routes.pop(layer, None), self._gates.pop(layer, None)
        if routing is None and gates is None:
            return activations
        return activations * write_weights(self.model, layer, routing, gates, activations)

    def _moved(self, layer: int, size: int, written: torch.Tensor, rows: slice) -> torch.Tensor:
        """By what the FFN output m moves when the change acts on these rows, [rows, width, d_model], float32."""
        columns = [column for rank, column in self.members[layer] if rank < size]
        now = written[rows][..., columns]
        if self.change.operation == "patch":
            wanted = written[self.block.rows : self.first][..., columns]
        else:
            wanted = self.change.factor * now
        matrix = write_matrix(self.model, layer)[:, columns].float() / self.model.residual_multiplier
        return (wanted - now) @ matrix.T

    def _add_direct(self, layer: int, place: int, unchanged: torch.Tensor, moved: torch.Tensor) -> None:
        """Add what a move of m comes to in the residual stream to the direct change of one size."""
        norm = self.model.post_norm(layer)
        if norm is None:
            landed = moved * self.model.residual_multiplier
        else:
            landed = norm.write(unchanged + moved) - norm.write(unchanged)
        while len(self._delta) <= place:
            self._delta.append(torch.zeros_like(landed))
        self._delta[place] = self._delta[place] + landed

    def _norm_hook(self, span: slice) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            self._final = args[0][:, span].clone()

        return hook
