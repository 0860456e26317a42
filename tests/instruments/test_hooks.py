from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tiny_models
from controlwindow.errors import OperationError
from controlwindow.instruments import Add, Dose, Inject, Intervention, Pin, Scale, generic_pass, prove_hooks, rollout
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.dosing import row_operations
from controlwindow.instruments.hooks import measuring
from controlwindow.models import Model, Neuron
from tiny_models import PROMPTS


def activations(model: Model, rows: list, layer: int, first_generated: int | None = None) -> torch.Tensor:
    """What reaches the projection of a layer under operations, [rows, positions, neurons]."""
    seen: list[torch.Tensor] = []
    batch = model.encode([PROMPTS[0]] * len(rows))
    with measuring(model), Intervention(model, rows) as intervention:
        intervention.first_generated = first_generated
        with capturing(model, activations=lambda _, a: seen.append(a.clone()), layers=[layer]):
            model.hf_model(**batch, use_cache=False)
    return seen[0]


def test_operations_on_one_neuron_act_in_the_order_given(tiny: Model) -> None:
    n = Neuron(0, 5)
    rows = [
        (),
        (Add(n, 2.0), Scale(n, 3.0)),
        (Scale(n, 3.0), Add(n, 2.0)),
        (Add(n, 2.0), Pin(n, 7.0)),
        (Pin(n, 7.0), Add(n, 2.0), Scale(n, -1.0)),
    ]
    a = activations(tiny, rows, 0)
    undosed = a[0, :, 5]
    for row, expected in enumerate(
        [undosed, (undosed + 2) * 3, undosed * 3 + 2, torch.full_like(undosed, 7), torch.full_like(undosed, -9)]
    ):
        torch.testing.assert_close(a[row, :, 5], expected)
    others = [i for i in range(a.shape[-1]) if i != 5]
    for row in range(1, len(rows)):
        assert torch.equal(a[row][:, others], a[0][:, others])


def test_operations_on_different_positions_keep_their_order(tiny: Model) -> None:
    n = Neuron(0, 5)
    # The row before fixes no order for the row after it.
    rows = [
        (Add(n, 1.0), Add(n, 1.0, "generated")),
        (Pin(n, 7.0, "generated"), Add(n, 2.0)),
        (Add(n, 2.0), Pin(n, 7.0, "generated")),
        (),
    ]
    width = tiny.encode([PROMPTS[0]])["input_ids"].shape[1]
    first = width - 1
    a = activations(tiny, rows, 0, first_generated=first)[:, :, 5]
    undosed = a[3]
    torch.testing.assert_close(a[0], undosed + 1 + (torch.arange(width) >= first))
    torch.testing.assert_close(a[1, :first], undosed[:first] + 2)
    torch.testing.assert_close(a[2, :first], undosed[:first] + 2)
    assert a[1, first:].tolist() == [9.0]
    assert a[2, first:].tolist() == [7.0]


def test_undosed_rows_of_a_mixed_batch_are_bitwise_untouched(tiny: Model) -> None:
    last = tiny.layers - 1
    batch = tiny.encode(list(PROMPTS))
    with measuring(tiny):
        plain = tiny.hf_model(**batch, use_cache=False).logits
        rows = [(), (Add(Neuron(0, 1), 5.0),), (), (Inject(last, torch.ones(tiny.d_model)),)]
        with Intervention(tiny, rows):
            mixed = tiny.hf_model(**batch, use_cache=False).logits
    for row in (0, 2):
        assert torch.equal(mixed[row], plain[row])
    for row in (1, 3):
        assert not torch.equal(mixed[row], plain[row])


def test_every_undosed_operation_is_bitwise_nothing(tiny: Model) -> None:
    n, batch = Neuron(1, 1), tiny.encode([PROMPTS[0]] * 3)
    with measuring(tiny):
        plain = tiny.hf_model(**batch, use_cache=False).logits
        with Intervention(tiny, [(Add(n, 0.0),), (Scale(n, 1.0),), (Inject(0, torch.zeros(tiny.d_model)),)]):
            assert torch.equal(tiny.hf_model(**batch, use_cache=False).logits, plain)


def test_the_model_is_restored_after_success(tiny: Model) -> None:
    before, logits = tiny_models.state_bytes(tiny), tiny_models.forward(tiny, [1, 5, 9])
    rollout(tiny, PROMPTS, [Add(Neuron(0, 3), 3.0), Inject(1, torch.ones(tiny.d_model))], max_new_tokens=4)
    assert tiny_models.hook_count(tiny) == 0
    assert tiny_models.state_bytes(tiny) == before
    assert torch.equal(tiny_models.forward(tiny, [1, 5, 9]), logits)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_model_is_restored_after_an_error_in_the_middle_of_decoding(kind: type[BaseException]) -> None:
    model = tiny_models.gpt2()
    model.hf_model.train()
    before = tiny_models.state_bytes(model)
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise kind

    handle = model.hf_model.transformer.ln_f.register_forward_hook(fail)
    with pytest.raises(kind):
        rollout(model, PROMPTS, [Add(Neuron(0, 3), 3.0), Inject(0, torch.ones(24))], max_new_tokens=8)
    handle.remove()
    assert calls == 3
    assert tiny_models.hook_count(model) == 0
    assert tiny_models.state_bytes(model) == before
    assert all(module.training for module in model.hf_model.modules())
    assert torch.is_grad_enabled()


def test_hooks_of_others_stay_where_they_are() -> None:
    model = tiny_models.llama()
    seen: list[int] = []
    model.hf_model.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    rollout(model, PROMPTS[:1], [Add(Neuron(0, 3), 3.0)], max_new_tokens=2)
    assert tiny_models.hook_count(model) == 1
    assert seen == [1, 1]


def test_an_operation_that_does_not_fit_installs_nothing(llama: Model) -> None:
    with pytest.raises(OperationError, match="does not fit"):
        Intervention(llama, [(Add(Neuron(0, 0), 1.0),), (Inject(99, torch.zeros(32)),)])
    assert tiny_models.hook_count(llama) == 0


def test_dropout_is_off_while_measuring_and_modes_come_back() -> None:
    model = tiny_models.gpt2()
    expected = tiny_models.forward(model, [1, 5, 9])
    model.hf_model.train()
    model.hf_model.transformer.h[1].eval()
    modes = [module.training for module in model.hf_model.modules()]
    with measuring(model):
        assert not torch.is_grad_enabled()
        assert torch.equal(model.hf_model(torch.tensor([[1, 5, 9]]), use_cache=False).logits[0], expected)
    assert [module.training for module in model.hf_model.modules()] == modes
    assert True in modes
    assert False in modes


def test_control_coordinates_are_measured_after_the_dose(tiny: Model) -> None:
    # A dose that dwarfs everything turns the residual into the write itself.
    n = Neuron(1, 4)
    out = rollout(tiny, PROMPTS[:1], [Add(n, 1e6), Add(n, -1e6), Pin(n, 1e6)], max_new_tokens=2)
    assert [row[0] for row in out.control_coordinate] == pytest.approx([1, 1, 1], abs=1e-5)


def test_placed_rows_keep_their_operations(tiny: Model) -> None:
    n = Neuron(0, 5)
    rows = [(Pin(n, float(row)), Inject(0, torch.full((tiny.d_model,), float(row)))) for row in range(5)]
    intervention = Intervention(tiny, rows)
    intervention.place(0, torch.tensor([-1, 0, -1, -1, 1]))
    seen: list[torch.Tensor] = []
    injected: list[torch.Tensor] = []
    batch = tiny.encode([PROMPTS[0]] * 2)

    def read(*found: torch.Tensor) -> None:
        injected.append(found[1].clone())

    reading = capturing(tiny, activations=lambda _, a: seen.append(a), residuals=read, layers=[0])
    with measuring(tiny), intervention, reading:
        tiny.hf_model(**batch, use_cache=False)
    assert seen[0][:, 0, 5].tolist() == [1.0, 4.0]
    write = tiny_models.column(tiny, 0, 5)
    moved = injected[0][1] - injected[0][0]
    torch.testing.assert_close(moved, (3 * write + 3).expand_as(moved), rtol=1e-4, atol=1e-4)


def test_hooks_prove_themselves(tiny: Model) -> None:
    assert 0 <= prove_hooks(tiny) < 1e-4
    assert tiny_models.hook_count(tiny) == 0
    assert prove_hooks(tiny, layers=[1]) <= prove_hooks(tiny)


def test_the_proof_holds_on_a_real_checkpoint(stories: Model) -> None:
    assert prove_hooks(stories) < 1e-4


def test_the_proof_fails_when_the_adapter_names_another_module(llama: Model, gpt2: Model) -> None:
    for model, wrong in ((llama, "self_attn.o_proj"), (gpt2, "attn.c_proj")):
        misread = replace(model, family=replace(model.family, ffn_output=wrong), cache={})
        with pytest.raises(OperationError, match="self-proof failed in layer 0") as caught:
            prove_hooks(misread)
        assert "adapter" in caught.value.hint
        assert tiny_models.hook_count(model) == 0


@pytest.mark.parametrize("factor", [0.5, 1.01])
def test_the_proof_fails_under_a_residual_multiplier(factor: float) -> None:
    model = tiny_models.llama()
    module = model.hf_model.model.layers[2].mlp.down_proj
    module.register_forward_hook(lambda _m, _a, output: factor * output)
    with pytest.raises(OperationError, match="layer 2"):
        prove_hooks(model)


def test_the_proof_fails_under_a_norm_of_the_ffn_output() -> None:
    model = tiny_models.llama()
    module = model.hf_model.model.layers[0].mlp
    module.register_forward_hook(lambda _m, _a, output: torch.nn.functional.rms_norm(output, (32,)))
    with pytest.raises(OperationError, match="layer 0"):
        prove_hooks(model)


def test_the_proof_fails_when_rows_leak_into_each_other() -> None:
    model = tiny_models.llama()
    module = model.hf_model.model.layers[1].mlp.down_proj
    module.register_forward_hook(lambda _m, _a, output: output + 0.01 * output.roll(1, 0))
    with pytest.raises(OperationError, match="layer 1"):
        prove_hooks(model)


def test_the_proof_fails_when_the_model_is_not_deterministic() -> None:
    model = tiny_models.llama()
    calls = 0

    def drift(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return output + calls

    model.hf_model.lm_head.register_forward_hook(drift)
    with pytest.raises(OperationError, match="no longer gives"):
        prove_hooks(model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dose(Neuron(0, 0), float("nan")),
        lambda: Add(Neuron(0, 0), float("inf")),
        lambda: Pin(Neuron(0, 0), float("-inf")),
        lambda: Scale(Neuron(0, 0), float("nan")),
        lambda: Dose(Neuron(0, 0), 1.0, "sometimes"),  # type: ignore[arg-type]
        lambda: Inject(0, torch.ones(2, 2)),
        lambda: Inject(0, torch.tensor([float("nan")])),
    ],
)
def test_ill_defined_operations_are_refused_when_made(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OperationError):
        make()


def test_operations_take_neurons_by_name() -> None:
    assert Dose("L1.N2", 0.5).neuron == Neuron(1, 2)  # type: ignore[arg-type]
    assert Add("L1.N2", 0.5) == Add(Neuron(1, 2), 0.5)  # type: ignore[arg-type]
    assert Pin("L1.N2", 0.5).neuron == Scale("L1.N2", 0.5).neuron == Neuron(1, 2)  # type: ignore[arg-type]


def test_branches_follow_the_sign() -> None:
    assert Dose(Neuron(0, 0), -0.1).branch == Add(Neuron(0, 0), -3.0).branch == -1
    assert Dose(Neuron(0, 0), 0.0).branch == Add(Neuron(0, 0), 3.0).branch == 1


def test_row_operations_take_none_one_or_several(tiny: Model) -> None:
    one = Add(Neuron(0, 0), 1.0)
    assert row_operations(tiny, None) == ()
    assert row_operations(tiny, one) == (one,)
    assert row_operations(tiny, [one, one]) == (one, one)


def test_a_dose_comes_to_an_offset_of_so_many_budgets(tiny: Model) -> None:
    neuron = Neuron(1, 2)
    dose = Dose(neuron, -0.5, "generated")
    alpha = -0.5 * generic_pass(tiny).budget(tiny, neuron)
    assert row_operations(tiny, [dose, Scale(neuron, 0.0)]) == (Add(neuron, alpha, "generated"), Scale(neuron, 0.0))


def test_a_dose_that_nobody_turned_into_an_operation_is_refused(tiny: Model) -> None:
    with pytest.raises(OperationError, match=r"Dose\(neuron=.* is no operation"):
        Intervention(tiny, [(Dose(Neuron(1, 2), 0.5),)])  # type: ignore[arg-type]
