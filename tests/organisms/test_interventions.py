"""Training-time doses: equal to a slow reference, transparent to gradients, and gone afterwards."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.interventions import RowDose, ablation, intervened, recorded, residual_norms


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


TOKENS = torch.tensor([[1, 5, 9, 3, 7], [1, 6, 2, 8, 4], [1, 3, 3, 9, 2]])


def outputs_of_layer(model, layer, doses=(), norms=None, positions=None):
    seen = []
    handle = model.model.layers[layer].register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach())
    )
    with torch.no_grad(), intervened(model, doses, norms, positions):
        model(TOKENS)
    handle.remove()
    return seen[0]


def test_a_dose_moves_the_residual_by_t_norms_along_the_column(model):
    neuron, norms = Neuron(1, 7), torch.tensor([2.0, 3.0, 4.0])
    moved = outputs_of_layer(model, 1, [RowDose(2, neuron, -0.5)], norms) - outputs_of_layer(model, 1)
    column = model.model.layers[1].mlp.down_proj.weight[:, 7].detach()
    expected = torch.zeros_like(moved)
    expected[2] = -0.5 * 3.0 * column / column.norm()
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)


def test_ablation_equals_a_zeroed_column(model):
    dosed = outputs_of_layer(model, 2, [ablation(0, Neuron(1, 3)), ablation(1, Neuron(2, 5))], torch.ones(3))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:, 3] = 0
    first = outputs_of_layer(model, 2)
    torch.testing.assert_close(dosed[0], first[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(dosed[1], first[1])


def test_doses_of_one_row_add_up_and_other_rows_and_positions_stay(model):
    positions = torch.zeros(3, 5, dtype=torch.bool)
    positions[:, 3:] = True
    doses = [RowDose(1, Neuron(0, 2), 0.4), RowDose(1, Neuron(0, 9), 0.2)]
    moved = outputs_of_layer(model, 0, doses, torch.ones(3), positions) - outputs_of_layer(model, 0)
    weight = model.model.layers[0].mlp.down_proj.weight.detach()
    expected = 0.4 * weight[:, 2] / weight[:, 2].norm() + 0.2 * weight[:, 9] / weight[:, 9].norm()
    torch.testing.assert_close(moved[1, 3:], expected.expand(2, -1), atol=1e-5, rtol=1e-5)
    assert torch.equal(moved[1, :3], torch.zeros(3, 16))
    assert torch.equal(moved[[0, 2]], torch.zeros(2, 5, 16))


def test_gradients_flow_and_hooks_are_gone_also_after_an_error(model):
    before = model(TOKENS).logits.detach()
    with intervened(model, [RowDose(0, Neuron(1, 7), 0.5)], torch.ones(3)):
        model(TOKENS).logits.sum().backward()
    assert model.model.layers[1].mlp.down_proj.weight.grad.abs().sum() > 0
    assert model.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="stop"), intervened(model, [RowDose(0, Neuron(1, 7), 5.0)], torch.ones(3)):
        raise RuntimeError("stop")
    assert torch.equal(model(TOKENS).logits, before)
    assert not any(layer.mlp.down_proj._forward_pre_hooks for layer in model.model.layers)


def test_activations_are_recorded_before_the_dose(model):
    neuron = Neuron(1, 7)
    with torch.no_grad(), recorded(model, [neuron]) as plain:
        model(TOKENS)
    with (
        torch.no_grad(),
        recorded(model, [neuron]) as dosed,
        intervened(model, [RowDose(0, neuron, 3.0)], torch.ones(3)),
    ):
        model(TOKENS)
    assert plain[neuron].shape == TOKENS.shape
    assert torch.equal(plain[neuron], dosed[neuron])


def test_residual_norms_are_medians_over_the_chosen_positions(model):
    chosen = torch.zeros(3, 5, dtype=torch.bool)
    chosen[0, 2:] = True
    norms = residual_norms(model, TOKENS, chosen)
    for layer in range(3):
        expected = outputs_of_layer(model, layer)[0, 2:].norm(dim=-1).median()
        torch.testing.assert_close(norms[layer], expected)
    assert not any(layer._forward_hooks for layer in model.model.layers)
