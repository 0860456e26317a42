from __future__ import annotations

import pytest
import torch

import tiny_families
import tiny_models
from controlwindow.errors import NeuronError
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.models.directions import token_effects, write_matrix, write_norms
from tiny_models import PROMPTS


def residual_with_offset(model: Model, ids: list[int], neuron: Neuron, alpha: float) -> torch.Tensor:
    """Output of the neuron's block when its activation is moved by hand, [positions, d_model]."""
    seen: list[torch.Tensor] = []

    def move(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        moved = args[0].clone()
        moved[..., neuron.index] += alpha
        return (moved,)

    def read(_module: torch.nn.Module, _args: object, output: torch.Tensor) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0])

    handles = [
        tiny_models.projection(model, neuron.layer).register_forward_pre_hook(move),
        tiny_models.block(model, neuron.layer).register_forward_hook(read),
    ]
    try:
        tiny_models.forward(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    return seen[0]


@pytest.mark.parametrize("neuron", ["L0.N0", "L0.N17", "L1.N40"])
def test_write_direction_is_the_finite_difference_at_every_position(tiny: Model, neuron: str) -> None:
    where = Neuron.parse(neuron)
    ids = tiny.token_ids(PROMPTS[:1])[0]
    alpha = 4.0
    moved = residual_with_offset(tiny, ids, where, alpha) - residual_with_offset(tiny, ids, where, 0.0)
    expected = write_direction(tiny, neuron)
    torch.testing.assert_close(moved / alpha, expected.expand_as(moved), rtol=1e-4, atol=1e-5)


def test_write_direction_is_a_copy(tiny: Model) -> None:
    before = tiny_models.state_bytes(tiny)
    write_direction(tiny, "L0.N0").zero_()
    assert tiny_models.state_bytes(tiny) == before


def test_matrix_and_norms_hold_every_direction(tiny: Model) -> None:
    matrix, norms = write_matrix(tiny, 1), write_norms(tiny, 1)
    assert matrix.shape == (tiny.d_model, tiny.neurons.widths[1])
    for index in (0, 5, tiny.neurons.widths[1] - 1):
        assert torch.equal(matrix[:, index], tiny_models.column(tiny, 1, index))
        assert norms[index].item() == pytest.approx(write_direction(tiny, Neuron(1, index)).norm().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["L0.N9999", "L99.N0", "L0.E0.N0"])
def test_neurons_outside_the_model_are_refused_with_its_size(tiny: Model, name: str) -> None:
    with pytest.raises(NeuronError, match=name) as caught:
        write_direction(tiny, name)
    assert f"L0 to L{tiny.layers - 1}" in caught.value.hint
    assert str(tiny.neurons.widths[0]) in caught.value.hint


def test_token_effects_are_the_readout_of_the_gained_write(tiny: Model) -> None:
    raised, lowered = token_effects(tiny, "L1.N3", count=5)
    final = tiny.hf_model.model.norm if tiny.family.name == "llama" else tiny.hf_model.transformer.ln_f
    write = tiny_models.column(tiny, 1, 3)
    if tiny.family.name == "gpt2":
        write = write - write.mean()  # its LayerNorm drops the mean
    logits = tiny.hf_model.get_output_embeddings().weight @ (final.weight * write)
    assert [value for _, value in raised] == pytest.approx(sorted(logits.tolist(), reverse=True)[:5], rel=1e-5)
    assert [value for _, value in lowered] == pytest.approx(sorted(logits.tolist())[:5], rel=1e-5)
    assert raised[0][0] == tiny.tokenizer.decode([int(logits.argmax())])


@pytest.mark.parametrize("case", ["olmo", "gemma", "nemotron", "cohere", "granite", "phi", "qwen3_moe:mixed"])
def test_token_effects_are_what_the_final_norm_and_the_readout_make_of_the_write(case: str) -> None:
    model = tiny_families.model(case)
    name = str(model.neurons.at(1, 3))
    write = write_direction(model, name)
    norm = model.hf_model.get_submodule(model.family.final_norm)
    # A residual that is all write, with either sign, so that every bias cancels.
    with torch.no_grad():
        ahead, behind = (model.readout(norm(sign * 1e4 * write[None]))[0] for sign in (1, -1))
    length = write.std(correction=0) if model.family.centred else write.square().mean().sqrt()
    logits = (ahead - behind) / 2 * length
    raised, lowered = token_effects(model, name, count=4)
    assert [value for _, value in raised] == pytest.approx(logits.topk(4).values.tolist(), rel=1e-3)
    assert [value for _, value in lowered] == pytest.approx((-(-logits).topk(4).values).tolist(), rel=1e-3)
