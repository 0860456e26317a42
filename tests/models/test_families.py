"""Every family against references that know neither its adapter nor the package's hooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import NeuronError
from controlwindow.models import Model, Neuron, raw_write, write_direction
from controlwindow.models.adapters import FAMILIES
from controlwindow.models.directions import write_matrix, write_norms
from tiny_models import PROMPTS


@pytest.fixture(params=tiny_families.CASES)
def family(request: pytest.FixtureRequest) -> Model:
    if not tiny_families.is_known(request.param):
        pytest.skip(f"this Transformers version has no {request.param}")
    return tiny_families.model(request.param)


def post_normed(model: Model) -> bool:
    return any(tiny_families.model(case) is model for case in tiny_families.POST_NORMED)


def each_neuron(model: Model, ids: list[int]) -> Iterator[tuple[Neuron, reference_ffn.Passed]]:
    for layer in range(2):
        passed = reference_ffn.run(model, ids, layer)
        for neuron in reference_ffn.neurons_of(model, passed, layer):
            yield neuron, passed


def test_every_entry_has_a_model_here() -> None:
    tried = {case.partition(":")[0] for case in tiny_families.CASES}
    assert tried == {kind for family in FAMILIES for kind in family.model_types}


def test_the_residual_moves_along_the_write_direction(family: Model) -> None:
    ids = family.token_ids(PROMPTS[:1])[0]
    for neuron, passed in each_neuron(family, ids):
        share = passed.share(neuron)[:, None]
        assert share.abs().max() > 0.01
        if post_normed(family):
            # The local derivative, from a symmetric difference small against m.
            alpha = float(0.02 * passed.output.norm(dim=-1).min() / raw_write(family, neuron).norm())
            there = reference_ffn.run(family, ids, neuron.layer, neuron, lambda a, by=alpha: a + by)
            back = reference_ffn.run(family, ids, neuron.layer, neuron, lambda a, by=alpha: a - by)
            moved = (there.residual - back.residual) / (2 * alpha)
            expected = torch.stack([write_direction(family, neuron, state=m) for m in passed.output])
            assert (moved - expected).norm(dim=-1).max() < 2e-3 * expected.norm(dim=-1).max()
        else:
            alpha = float(passed.residual.norm(dim=-1).median() / write_direction(family, neuron).norm())
            dosed = reference_ffn.run(family, ids, neuron.layer, neuron, lambda a, by=alpha: a + by)
            moved = (dosed.residual - passed.residual) / alpha
            expected = share * write_direction(family, neuron)
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(write_direction(family, neuron, state=passed.output[0]), write_direction(family, neuron))


@pytest.mark.parametrize("case", tiny_families.POST_NORMED)
def test_under_a_post_norm_the_write_has_a_limit_and_a_closed_form(case: str) -> None:
    if not tiny_families.is_known(case):
        pytest.skip(f"this Transformers version has no {case}")
    model = tiny_families.model(case)
    ids = model.token_ids(PROMPTS[:1])[0]
    for neuron, passed in each_neuron(model, ids):
        column = tiny_models.column(model, neuron.layer, neuron.index)
        norm = model.post_norm(neuron.layer)
        assert norm is not None
        unnormed = passed.residual - norm.module(passed.output)  # the residual before the FFN is added
        unit = float(passed.output.norm(dim=-1).median() / column.norm())
        for alpha in (unit, -3 * unit):
            dosed = reference_ffn.run(model, ids, neuron.layer, neuron, lambda a, by=alpha: a + by)
            torch.testing.assert_close(
                dosed.residual - unnormed, norm.write(passed.output + alpha * column), rtol=1e-4, atol=1e-4
            )
        far = reference_ffn.run(model, ids, neuron.layer, neuron, lambda a, by=1e5 * unit: a + by)
        limit = write_direction(model, neuron)
        torch.testing.assert_close(far.residual - unnormed, limit.expand_as(unnormed), rtol=1e-3, atol=1e-3)


def test_directions_are_the_columns_of_the_layer_in_order(family: Model) -> None:
    for layer, width in enumerate(family.neurons.widths):
        matrix, norms = write_matrix(family, layer), write_norms(family, layer)
        assert matrix.shape == (family.d_model, width)
        for column in (0, 1, width // 2, width - 1):
            write = raw_write(family, family.neurons.at(layer, column))
            assert torch.equal(matrix[:, column], write)
            assert norms[column].item() == pytest.approx(write.norm().item(), rel=1e-5)
        torch.testing.assert_close(norms, matrix.float().norm(dim=0))


def test_there_are_as_many_neurons_as_the_parameter_shapes_say(family: Model) -> None:
    # Counted on the input side, where no adapter entry of the output projection is involved.
    counted = [0, 0]
    prefix = "vision_tower"
    for layer in range(2):
        for name, parameter in tiny_models.block(family, layer).named_parameters():
            assert prefix not in name
            parts = name.removesuffix(".weight").split(".")
            if parts[-1] == "gate_up_proj":
                rows = max(size for size in parameter.shape[-2:] if size != family.d_model)
                counted[layer] += (len(parameter) if parameter.ndim == 3 else 1) * rows // 2
            elif parts[-1] in ("up_proj", "c_fc", "fc1", "fc_in", "dense_h_to_4h") and name.endswith("weight"):
                counted[layer] += parameter.numel() // family.d_model
    assert list(family.neurons.widths) == counted
    assert len(family.neurons) == sum(counted) == len(set(family.neurons))


def test_the_neurons_of_a_layer_are_numbered_in_columns(family: Model) -> None:
    neurons = family.neurons
    every = list(neurons)
    assert every == sorted(every)
    assert [neurons[i] for i in range(len(every))] == every
    assert [neurons.flat_index(neuron) for neuron in every] == list(range(len(every)))
    assert all(neuron in neurons for neuron in every)
    for layer, shape in enumerate(neurons.shapes):
        assert (Neuron(layer, 0, 0) in neurons) == (shape.experts > 0)
        for outside in (Neuron(layer, shape.width), Neuron(layer, 0, shape.experts), Neuron(layer, 99, 0)):
            assert outside not in neurons


def test_readout_gives_the_logits_bitwise(family: Model) -> None:
    batch = family.encode(list(PROMPTS))
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    options = family.forward_options(batch["attention_mask"], positions)
    with torch.no_grad():
        hidden = family.decoder(input_ids=batch["input_ids"], **options).last_hidden_state
        logits = family.hf_model(input_ids=batch["input_ids"], **options).logits
        assert torch.equal(family.readout(hidden), logits)
    # The final norm of the entry is the one whose output is read out.
    seen: list[torch.Tensor] = []
    handle = family.hf_model.get_submodule(family.family.final_norm).register_forward_hook(
        lambda _m, _a, output: seen.append(output)
    )
    tiny_models.forward(family, batch["input_ids"][0].tolist())
    handle.remove()
    with torch.no_grad():
        assert torch.equal(family.readout(seen[0])[0], tiny_models.forward(family, batch["input_ids"][0].tolist()))


def test_a_left_padded_batch_equals_one_by_one(family: Model) -> None:
    batch = family.encode(list(PROMPTS))
    mask = batch["attention_mask"]
    options = family.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0))
    with torch.no_grad():
        padded = family.hf_model(input_ids=batch["input_ids"], **options).logits[:, -1]
    for row, ids in enumerate(family.token_ids(PROMPTS)):
        torch.testing.assert_close(padded[row], tiny_models.forward(family, ids)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("L1.E4.N0", "layer 1 has L1.E0 to E3 with 24 FFN neurons each, and L1.N0 to N39 in the shared expert"),
        ("L1.N40", "layer 1 has L1.E0 to E3"),
        ("L0.E0.N0", "L0 to L1 with 40 FFN neurons each, and no experts there"),
        ("L2.N0", "L0 to L1 with 40 FFN neurons each"),
    ],
)
def test_neurons_outside_a_mixed_model_are_refused_with_its_shape(name: str, hint: str) -> None:
    with pytest.raises(NeuronError, match=name) as caught:
        write_direction(tiny_families.model("qwen2_moe:mixed"), name)
    assert hint in caught.value.hint
