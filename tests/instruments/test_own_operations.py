"""An operation that the package does not have: one class, and hooks and the fast path do the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

import budget_models
import tiny_models
from controlwindow.errors import NeuronError, OperationError
from controlwindow.instruments import Add, Inject, Scale, generic_pass, rollout
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.edits import AddVector, ChangeActivation, Edit, MapActivation, MapResidual
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Measured, Operation, Positions
from controlwindow.instruments.routes import route
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.instruments.sharing import NEVER
from controlwindow.models import Model, Neuron, write_direction
from tiny_models import PROMPTS

HORIZON = 12


@dataclass(frozen=True)
class Clamp(Operation):
    """At most so much of an activation."""

    neuron: Neuron
    most: float
    positions: Positions = "all"

    def edits(self, model: Model) -> tuple[Edit, ...]:
        return (MapActivation(self.neuron, lambda a: a.clamp(max=self.most)),)

    def measured(self, model: Model) -> Measured:
        return Measured(self.neuron.layer + 1, write_direction(model, self.neuron))


@dataclass(frozen=True)
class Shrink(Operation):
    """The whole residual stream behind a block, times a factor."""

    layer: int
    factor: float
    positions: Positions = "all"

    def edits(self, model: Model) -> tuple[Edit, ...]:
        return (MapResidual(self.layer, lambda r: self.factor * r),)


@dataclass(frozen=True, eq=False)
class Twice(Operation):
    """Two vectors behind one block: what adds is added on the fast path, however it came about."""

    layer: int
    vector: torch.Tensor
    positions: Positions = "all"

    def edits(self, model: Model) -> tuple[Edit, ...]:
        return (AddVector(self.layer, self.vector), AddVector(self.layer, self.vector))


def own_operations(model: Model) -> list[tuple[Operation, ...]]:
    last = model.layers - 1
    size = generic_pass(model).residual_norm[0]
    vector = size * torch.nn.functional.normalize(torch.arange(model.d_model) - 3.0, dim=0)
    one, other = Neuron(0, 3), Neuron(last, 7)
    return [
        (),
        (Clamp(one, -0.2),),
        (Clamp(other, -0.5, "generated"),),
        (Add(one, 2.0), Clamp(one, 0.3), Scale(one, -4.0)),
        (Clamp(other, -0.5), Inject(0, vector, "generated")),
        (Shrink(0, -1.0),),
        (Shrink(last, 0.2, "generated"), Add(one, 1.0)),
        (Twice(0, vector),),
        (Twice(0, vector, "generated"), Shrink(last, 0.5)),
    ]


def test_the_fast_path_says_what_hooks_alone_say(tiny: Model) -> None:
    prompts = [tuple(ids) for ids in tiny.token_ids(PROMPTS)]
    rows = [Row(ids, operations) for operations in own_operations(tiny) for ids in prompts]
    alone = roll_out_rows(tiny, rows, HORIZON, share=False)
    undosed = alone[: len(prompts)]
    groups = [alone[start : start + len(prompts)] for start in range(0, len(rows), len(prompts))]
    differing = [sum(a.token_ids != b.token_ids for a, b in zip(group, undosed, strict=True)) for group in groups[1:]]
    assert sum(count > 0 for count in differing) >= 5
    for others in (roll_out_rows(tiny, rows, HORIZON), roll_out_rows(tiny, rows, HORIZON, batch_rows=5)):
        for mine, theirs in zip(others, alone, strict=True):
            assert mine.token_ids == theirs.token_ids or mine.ties or theirs.ties
            assert mine.coordinates == pytest.approx(theirs.coordinates, abs=1e-4)


def test_only_what_adds_a_known_vector_leaves_the_hooks(tiny: Model) -> None:
    vector = torch.ones(tiny.d_model)
    added = route(tiny, (Twice(1, vector),), share=True)
    assert (added.own_from, added.hooked) == (2, ())
    assert added.added is not None
    assert added.added.tolist() == [2.0] * tiny.d_model
    clamp = (Clamp(Neuron(1, 2), 0.5),)
    hooked = route(tiny, clamp, share=True)
    assert (hooked.own_from, hooked.hooked, hooked.added) == (1, clamp, None)
    nothing = route(tiny, (Scale(Neuron(1, 2), 1.0), Add(Neuron(0, 1), 0.0)), share=True)
    assert (nothing.own_from, nothing.hooked) == (NEVER, ())


@contextmanager
def passing(model: Model, operations: tuple[Operation, ...], first: int) -> Iterator[None]:
    with Intervention(model, [operations] * len(PROMPTS)) as intervention:
        intervention.first_generated = first
        yield


def logits(model: Model) -> torch.Tensor:
    with measuring(model):
        found: torch.Tensor = model.hf_model(**model.encode(list(PROMPTS))).logits
    return found


@pytest.mark.parametrize("positions", ["all", "generated"])
def test_a_function_of_an_activation_acts_at_the_input_of_the_projection(positions: Positions) -> None:
    model, neuron = tiny_models.llama(), Neuron(1, 4)
    first = model.encode(list(PROMPTS))["input_ids"].shape[1] - 1
    start = 0 if positions == "all" else first

    def clamp(_module: object, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        changed = args[0].clone()
        changed[:, start:, neuron.index].clamp_(max=-2.0)
        return (changed,)

    handle = tiny_models.block(model, 1).mlp.down_proj.register_forward_pre_hook(clamp)
    expected = logits(model)
    handle.remove()
    with passing(model, (Clamp(neuron, -2.0, positions),), first):
        found = logits(model)
    assert torch.equal(found, expected)
    assert not torch.equal(found, logits(model))


def test_a_function_of_the_residual_acts_behind_the_block() -> None:
    model = tiny_models.llama()
    handle = tiny_models.block(model, 1).register_forward_hook(lambda _m, _a, output: 0.5 * output)
    expected = logits(model)
    handle.remove()
    with passing(model, (Shrink(1, 0.5),), 0):
        assert torch.equal(logits(model), expected)


@dataclass(frozen=True)
class Halved(Operation):
    """a ← a/2 + 1, as an affine edit or as a function."""

    neuron: Neuron
    affine: bool
    positions: Positions = "generated"

    def edits(self, model: Model) -> tuple[Edit, ...]:
        if self.affine:
            return (ChangeActivation(self.neuron, 0.5, 1.0),)
        return (MapActivation(self.neuron, lambda a: 0.5 * a + 1.0),)


def test_a_function_acts_in_routed_experts_as_an_affine_edit_does() -> None:
    model = budget_models.qwen2_moe()
    neurons = [Neuron(1, 2, expert) for expert in range(model.neurons.shapes[1].experts)]
    found = []
    for affine in (True, False):
        seen: dict[int, torch.Tensor] = {}
        operations = tuple(Halved(neuron, affine) for neuron in neurons)
        with (
            passing(model, operations, 3),
            capturing(model, activations=lambda layer, a, seen=seen: seen.update({layer: a.clone()}), layers=[1]),
        ):
            found.append((logits(model), seen[1]))
    for affine, function in zip(*found, strict=True):
        assert torch.allclose(affine, function, atol=1e-6)
    assert not torch.allclose(found[0][0], logits(model), atol=1e-3, equal_nan=True)


def test_an_operation_of_ones_own_is_held_against_the_model(tiny: Model) -> None:
    with pytest.raises(NeuronError, match=r"L0\.N99999"):
        rollout(tiny, PROMPTS[:1], [Clamp(Neuron(0, 99999), 0.0)], max_new_tokens=1)
    with pytest.raises(OperationError, match="layer 99 does not fit"):
        rollout(tiny, PROMPTS[:1], [Shrink(99, 0.0)], max_new_tokens=1)
