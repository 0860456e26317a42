"""Hooks and readings in every family, against FFNs computed and edited by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import OperationError
from controlwindow.instruments import Add, Inject, Intervention, Pin, Scale, prove_hooks
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.probes import propagation
from controlwindow.models import Model, Neuron, load_model
from controlwindow.models.directions import write_norms
from tiny_models import PROMPTS


def known(case: str) -> Model:
    if not tiny_families.is_known(case):
        pytest.skip(f"this Transformers version has no {case}")
    return tiny_families.model(case)


@pytest.fixture(params=tiny_families.CASES)
def family(request: pytest.FixtureRequest) -> Model:
    return known(request.param)


@pytest.fixture(params=tiny_families.WITH_EXPERTS)
def mixture(request: pytest.FixtureRequest) -> Model:
    return known(request.param)


def read(
    model: Model, prompts: list[list[int]], layer: int, rows: list[RowOperations] | None = None, **options: Any
) -> dict[str, Any]:
    """Everything that can be read in a layer, under operations, from one left-padded batch."""
    seen: dict[str, Any] = {}
    batch = model.pad(prompts)
    mask = batch["attention_mask"]
    intervention = Intervention(model, rows or [()] * len(prompts))
    intervention.first_generated = mask.shape[1] - 1
    readers: dict[str, Callable[..., None]] = {
        name: lambda _layer, *values, name=name: seen.update({name: [v.clone() for v in values]})
        for name in ("activations", "residuals", "ffn_outputs", "routing", "gates")
    }
    with measuring(model), intervention, capturing(model, layers=[layer], **readers, **options):
        model.decoder(input_ids=batch["input_ids"], **model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0)))
    return {name: values if name == "routing" else values[0] for name, values in seen.items()}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_everything_read_is_what_the_reference_computes(family: Model) -> None:
    prompts = family.token_ids(PROMPTS[:2])
    for layer in range(2):
        found = read(family, prompts, layer)
        for row, ids in enumerate(prompts):
            expected = reference_ffn.run(family, ids, layer)
            real = slice(found["residuals"].shape[1] - len(ids), None)
            assert found["activations"].shape[-1] == family.neurons.widths[layer]
            close(found["activations"][row, real], expected.activations)
            close(found["residuals"][row, real], expected.residual)
            close(found["ffn_outputs"][row, real], expected.output)
            assert ("routing" in found) == (expected.routes is not None)
            assert ("gates" in found) == (expected.gate is not None)
            if expected.routes is not None:
                assert torch.equal(found["routing"][0][row, real], expected.routes)
                close(found["routing"][1][row, real], expected.weights)
            if expected.gate is not None:
                close(found["gates"][row, real], expected.gate)


def test_activations_of_experts_add_up_to_what_the_experts_wrote(mixture: Model) -> None:
    prompts = mixture.token_ids(PROMPTS[:1])
    for layer in range(2):
        found, mlp = read(mixture, prompts, layer), tiny_models.block(mixture, layer).mlp
        if "routing" not in found:
            continue
        routes, weights = found["routing"][0][0], found["routing"][1][0]
        down = mlp.experts.down_proj.detach()
        if hasattr(mlp.experts, "down_proj_bias"):
            down = down.transpose(1, 2)
        activations = found["activations"][0]
        total = torch.zeros_like(found["ffn_outputs"][0])
        for expert, matrix in enumerate(down):
            share = torch.where(routes == expert, weights, 0.0).sum(-1, keepdim=True)
            own = activations[:, expert * matrix.shape[1] : (expert + 1) * matrix.shape[1]]
            assert not own[share[:, 0] == 0].any()
            bias = mlp.experts.down_proj_bias[expert] if hasattr(mlp.experts, "down_proj_bias") else 0.0
            total += share * (own @ matrix.T + bias)
        if hasattr(mlp, "shared_expert"):
            shared = activations[:, down.shape[0] * down.shape[2] :]
            total += found["gates"][0][:, None] * (shared @ mlp.shared_expert.down_proj.weight.T)
        close(found["ffn_outputs"][0], total)


def operations_on(neuron: Neuron, size: float) -> list[tuple[RowOperations, reference_ffn.Edit]]:
    """Operations of every kind, and what each does to the activations of all positions."""

    def last(edit: reference_ffn.Edit) -> reference_ffn.Edit:
        return lambda a: torch.cat([a[:-1], edit(a[-1:])])

    return [
        ((Add(neuron, size),), lambda a: a + size),
        ((Add(neuron, -size),), lambda a: a - size),
        ((Pin(neuron, 0.7 * size),), lambda a: torch.full_like(a, 0.7 * size)),
        ((Scale(neuron, 0.0),), lambda a: 0 * a),
        ((Scale(neuron, -3.0), Add(neuron, size)), lambda a: size - 3 * a),
        ((Add(neuron, size, "generated"),), last(lambda a: a + size)),
        (
            (Pin(neuron, size, "generated"), Add(neuron, size)),
            lambda a: torch.cat([a[:-1] + size, 0 * a[-1:] + 2 * size]),
        ),
    ]


def test_every_row_moves_as_if_its_own_model_was_edited(family: Model) -> None:
    long, short = family.token_ids(PROMPTS[:2])
    for layer in range(2):
        undosed = reference_ffn.run(family, long, layer)
        for neuron in reference_ffn.neurons_of(family, undosed, layer):
            size = float(undosed.output.norm(dim=-1).median() / write_norms(family, layer).median())
            tried = operations_on(neuron, size)
            prompts = [long if row % 2 else short for row in range(len(tried))]
            found = read(family, [*prompts, long], layer, [*(operations for operations, _ in tried), ()])["residuals"]
            for row, (ids, (_, edit)) in enumerate(zip(prompts, tried, strict=True)):
                expected = reference_ffn.run(family, ids, layer, neuron, edit).residual
                close(found[row, -len(ids) :], expected)
            # The row beside is bitwise what it is when nothing is dosed.
            plain = read(family, [*prompts, long], layer)["residuals"]
            assert torch.equal(found[-1], plain[-1])


def test_hooks_prove_themselves_and_leave_no_trace(family: Model) -> None:
    before, logits = tiny_models.state_bytes(family), tiny_models.forward(family, [1, 5, 9, 30])
    assert prove_hooks(family) < 1e-5
    read(family, family.token_ids(PROMPTS[:1]), 1, [(Scale(family.neurons[-1], 0.0),)])
    assert tiny_models.hook_count(family) == 0
    assert tiny_models.state_bytes(family) == before
    assert torch.equal(tiny_models.forward(family, [1, 5, 9, 30]), logits)


def test_a_write_into_the_last_block_propagates_nowhere(family: Model) -> None:
    ids = family.token_ids(PROMPTS[:3])
    late, early = (read(family, ids, layer)["activations"][0, -1].abs().argmax() for layer in (1, 0))
    continuations = [[20, 30, 40], [50, 60], [70]]
    found = []
    for neuron in (family.neurons.at(1, int(late)), family.neurons.at(0, int(early))):
        found.append(propagation(family, neuron, (Add(neuron, 2.0),), ids, continuations))
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert 0.05 < found[1] <= 1
    assert propagation(family, neuron, (Add(neuron, 0.0),), ids, continuations) is None


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("case", tiny_families.WITH_EXPERTS)
def test_experts_are_read_and_dosed_the_same_however_they_are_computed(case: str, implementation: str) -> None:
    reference = known(case)
    in_hand = tiny_families.in_hand(case)
    in_hand.config._experts_implementation = implementation
    model = load_model(in_hand, tokenizer=reference.tokenizer)
    assert prove_hooks(model) < 1e-5
    prompts = model.token_ids(PROMPTS[:2])
    for layer in range(2):
        passed = reference_ffn.run(reference, prompts[0], layer)
        neuron = reference_ffn.neurons_of(reference, passed, layer)[0]
        rows: list[RowOperations] = [(Pin(neuron, 3.0),), (Add(neuron, 3.0, "generated"),)]
        expected, found = (read(each, prompts, layer, rows) for each in (reference, model))
        for name in ("activations", "residuals", "ffn_outputs"):
            close(found[name][:, -1], expected[name][:, -1])


def test_what_is_read_of_experts_is_what_an_intervention_made_of_it(mixture: Model) -> None:
    ids = mixture.token_ids(PROMPTS[:1])[0]
    for layer in range(2):
        undosed = reference_ffn.run(mixture, ids, layer)
        neuron = reference_ffn.neurons_of(mixture, undosed, layer)[0]
        column = mixture.neurons.column(neuron)
        rows: list[RowOperations] = [(Pin(neuron, 5.0, "generated"), Add(neuron, 1.0)), ()]
        for positions in (slice(None), slice(-2, None)):
            found = read(mixture, [ids, ids], layer, rows, positions=positions)["activations"]
            close(found[0, :-1, column], undosed.activations[positions][:-1, column] + 1)
            close(found[0, -1, column], torch.tensor(6.0))
            close(found[1], undosed.activations[positions])
            others = torch.arange(found.shape[-1]) != column
            close(found[0][:, others], found[1][:, others])


def test_only_the_positions_of_interest_are_read(family: Model) -> None:
    prompts = family.token_ids(PROMPTS[:2])
    whole, last = read(family, prompts, 1), read(family, prompts, 1, positions=slice(-1, None))
    for name in ("activations", "residuals", "ffn_outputs"):
        close(last[name], whole[name][:, -1:])


def test_rows_of_different_layers_and_experts_share_a_batch(mixture: Model) -> None:
    ids = mixture.token_ids(PROMPTS[:1])[0]
    passed = [reference_ffn.run(mixture, ids, layer) for layer in range(2)]
    neurons = [n for layer, p in enumerate(passed) for n in reference_ffn.neurons_of(mixture, p, layer)]
    rows: list[RowOperations] = [(Add(neuron, 4.0),) for neuron in neurons]
    together = read(mixture, [ids] * len(rows), 1, rows)["residuals"]
    for row, operations in enumerate(rows):
        close(together[row], read(mixture, [ids], 1, [operations])["residuals"][0])
    both = read(mixture, [ids], 1, [rows[0] + rows[-1]])["residuals"][0]
    assert not torch.allclose(both, together[0], atol=1e-3)
    assert not torch.allclose(both, together[-1], atol=1e-3)


def test_the_proof_holds_in_half_precision() -> None:
    for case in ("llama", "gemma2", "granite", "qwen2_moe", "gpt_oss", "opt", "falcon:new"):
        for dtype in (torch.bfloat16, torch.float16):
            half = load_model(tiny_families.in_hand(case).to(dtype), tokenizer=tiny_models.tokenizer())
            assert prove_hooks(half) < 8 * torch.finfo(dtype).eps, (case, dtype)


@pytest.mark.parametrize("case", ["mixtral", "qwen2_moe", "gpt_oss"])
def test_the_proof_fails_when_an_entry_misreads_the_experts(case: str) -> None:
    model = known(case)
    entry = model.family.experts
    assert entry is not None
    # The lengths agree, so that only what is computed can tell.
    other = "interleaved" if entry.fused == "chunked" else "chunked"
    misread = replace(model, family=replace(model.family, experts=replace(entry, fused=other)), cache={})
    ids = model.token_ids(PROMPTS[:1])
    found, expected = read(misread, ids, 1)["activations"], read(model, ids, 1)["activations"]
    assert not torch.allclose(found, expected, atol=1e-2)
    squashed = load_model(tiny_families.in_hand(case), tokenizer=model.tokenizer)
    for block in squashed.blocks:
        block.get_submodule("mlp.experts").register_forward_hook(lambda _m, _a, output: 0.5 * output)
    with pytest.raises(OperationError, match=r"layer 0 \(L0\.E"):
        prove_hooks(squashed)


def test_the_proof_fails_when_a_norm_is_overlooked() -> None:
    for case in ("gemma2", "olmo2", "glm4"):
        model = known(case)
        misread = replace(model, family=replace(model.family, post_norm=None), cache={})
        with pytest.raises(OperationError, match="layer 0"):
            prove_hooks(misread)
    gemma = known("gemma2")
    with pytest.raises(OperationError, match="layer 0"):
        prove_hooks(replace(gemma, family=replace(gemma.family, gain_offset=0.0), cache={}))
    granite = known("granite")
    with pytest.raises(OperationError, match="layer 0"):
        prove_hooks(replace(granite, family=replace(granite.family, residual_multiplier=None), cache={}))


def test_the_proof_fails_when_a_little_reaches_a_position_it_is_not_meant_for() -> None:
    model = load_model(tiny_families.in_hand("llama"), tokenizer=tiny_models.tokenizer())
    # Far below the tolerance of the move, and only the row dosed at the last position can tell.
    model.hf_model.model.layers[1].mlp.down_proj.register_forward_hook(
        lambda _m, _a, output: output + 1e-6 * output.roll(1, 1)
    )
    with pytest.raises(OperationError, match=r"layer 1 .*a position that it is not meant for"):
        prove_hooks(model)


def test_activations_that_never_pass_the_site_are_an_error_not_silence() -> None:
    # Bloom's slow path multiplies slices of the weight and never calls the projection.
    bloom = known("bloom")
    config = AutoConfig.for_model(
        "bloom", **tiny_families.CASES["bloom"], vocab_size=300, slow_but_exact=True, pretraining_tp=2
    )
    slow = replace(bloom, hf_model=AutoModelForCausalLM.from_config(config).eval(), cache={})
    with pytest.raises(OperationError, match="layer 1 ran 1 times, its activations were read 0 times"):
        read(slow, [[1, 5, 9]], 1)


def values_at(model: Model, layer: int, rows: int, intervention: Intervention, index: int) -> list[float]:
    """One activation of every row of a layer's own batch, after the operations; only its projection is run."""
    projection, seen = tiny_models.projection(model, layer), list[torch.Tensor]()
    with measuring(model), intervention:
        handle = projection.register_forward_pre_hook(lambda _m, args: seen.append(args[0][:, 0, index].clone()))
        projection(torch.zeros(rows, 1, model.neurons.widths[layer]))
        handle.remove()
    return [float(value) for value in seen[0]]


def test_rows_are_placed_layer_by_layer() -> None:
    model = known("llama")
    low, high = Neuron(0, 5), Neuron(1, 5)
    # Rows 0 and 1 agree in layer 0, as do 2 and 3, so each pair can share a row there.
    rows: list[RowOperations] = [
        (Pin(low, 1.0), Pin(high, 10.0)),
        (Pin(low, 1.0), Pin(high, 11.0)),
        (Pin(low, 2.0), Pin(high, 12.0)),
        (Pin(low, 2.0), Pin(high, 13.0), Inject(1, torch.ones(32))),
        (),
    ]
    intervention = Intervention(model, rows)
    assert intervention.layers == (0, 1)
    assert values_at(model, 0, 5, intervention, 5) == [1, 1, 2, 2, 0]
    intervention.place(0, torch.tensor([0, 0, 2, 2, 1]))
    assert values_at(model, 0, 3, intervention, 5) == [1, 0, 2]
    assert values_at(model, 1, 5, intervention, 5) == [10, 11, 12, 13, 0]
    intervention.place(1, torch.tensor([1, -1, 0, 2, -1]))
    assert values_at(model, 1, 3, intervention, 5) == [12, 10, 13]
    # Numbers are those of the rows it was made for, however often rows are placed.
    intervention.place(1, torch.tensor([-1, 3, -1, 0, 1]))
    assert values_at(model, 1, 4, intervention, 5) == [13, 0, 0, 11]
    intervention.place(7, torch.arange(5))


def test_rows_that_share_a_place_are_dosed_once(mixture: Model) -> None:
    ids = mixture.token_ids(PROMPTS[:1])[0]
    layer = 0 if mixture.neurons.shapes[0].experts else 1
    neuron = reference_ffn.neurons_of(mixture, reference_ffn.run(mixture, ids, layer), layer)[0]
    rows: list[RowOperations] = [(Add(neuron, 2.0),), (Add(neuron, 2.0),), (Inject(layer, torch.ones(32)),)]
    batch, seen = mixture.pad([ids, ids]), list[torch.Tensor]()
    intervention = Intervention(mixture, rows)
    intervention.place(layer, torch.tensor([1, 1, 0]))
    capture = capturing(mixture, residuals=lambda _, r: seen.append(r.clone()), layers=[layer])
    with measuring(mixture), intervention, capture:
        mixture.hf_model(**batch, use_cache=False)
    undosed = read(mixture, [ids], layer)["residuals"][0]
    close(seen[0][1], reference_ffn.run(mixture, ids, layer, neuron, lambda a: a + 2.0).residual)
    close(seen[0][0], undosed + 1)
