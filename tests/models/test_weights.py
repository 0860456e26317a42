"""What is kept of a model belongs to the weights that it has now."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny_families
import tiny_models
from controlwindow.errors import ModelError
from controlwindow.instruments import generic_pass, rollout
from controlwindow.models import Model, Neuron, load_model, write_direction
from controlwindow.models.directions import write_norms
from controlwindow.models.precision import float32_copy
from controlwindow.models.weights import bit_sum
from tiny_models import PROMPTS

CHANGES = ["in place", "one column", "through a view", "another parameter", "another type"]


def change(model: Model, how: str) -> None:
    projection = tiny_models.projection(model, 1)
    with torch.no_grad():
        if how == "in place":
            projection.weight.mul_(3)
        elif how == "one column":
            projection.weight[:, 5] *= 10
        elif how == "through a view":
            projection.weight.view(-1)[7:9].add_(1)
        elif how == "another parameter":
            projection.weight = nn.Parameter(2 * projection.weight)
        else:
            model.hf_model.double()


@pytest.mark.parametrize("how", CHANGES)
def test_what_was_kept_is_measured_again_when_a_weight_has_changed(how: str) -> None:
    model = tiny_models.llama()
    fingerprint, kept = model.fingerprint, generic_pass(model)
    assert generic_pass(model) is kept
    change(model, how)
    anew = load_model(model.hf_model, tokenizer=model.tokenizer)
    assert model.fingerprint == anew.fingerprint != fingerprint
    for neuron in (Neuron(1, 5), Neuron(2, 3)):
        expected = generic_pass(anew).budget(anew, neuron)
        assert generic_pass(model).budget(model, neuron) == expected
        assert torch.equal(write_direction(model, neuron), write_direction(anew, neuron))
    assert torch.equal(write_norms(model, 1), write_norms(anew, 1))


def test_edits_past_the_counter_are_noticed_by_a_rollout() -> None:
    model = tiny_models.llama()
    rollout(model, PROMPTS[:1], [None], max_new_tokens=2)
    kept = generic_pass(model)
    rollout(model, PROMPTS[:1], [None], max_new_tokens=2)
    assert generic_pass(model) is kept
    tiny_models.projection(model, 1).weight.data[:, 5] *= 10
    rollout(model, PROMPTS[:1], [None], max_new_tokens=2)
    assert generic_pass(model) is not kept


@pytest.mark.parametrize("name", ["mlp.down_proj", "mlp.up_proj", "self_attn.q_proj", "input_layernorm"])
def test_edits_past_the_counter_are_noticed_by_every_call_that_takes_a_model(name: str) -> None:
    model = tiny_models.llama()
    fingerprint, kept = model.fingerprint, generic_pass(model)
    assert generic_pass(model) is kept
    model.hf_model.model.layers[1].get_submodule(name).weight.data.mul_(1.5)
    again = generic_pass(model)
    assert again is not kept
    anew = load_model(model.hf_model, tokenizer=model.tokenizer)
    assert again.budget(model, "L1.N5") == generic_pass(anew).budget(anew, "L1.N5")
    assert model.fingerprint == anew.fingerprint != fingerprint


@pytest.mark.parametrize("case", ["gemma2", "olmo2"])
def test_an_edited_norm_after_the_ffn_counts_at_once(case: str) -> None:
    model = load_model(tiny_families.in_hand(case), tokenizer=tiny_models.tokenizer())
    before = write_direction(model, "L1.N3")
    norm = model.blocks[1].get_submodule("post_feedforward_layernorm")
    with torch.no_grad():
        norm.weight.copy_(2 * (norm.weight + model.family.gain_offset) - model.family.gain_offset)
    torch.testing.assert_close(write_direction(model, "L1.N3"), 2 * before)


def test_copies_keep_their_own() -> None:
    model = tiny_models.llama()
    model.cache["kept"] = 1
    copied = float32_copy(model)
    assert "kept" not in copied.cache
    assert "kept" in replace(model, name="again").cache
    with torch.no_grad():
        tiny_models.projection(copied, 0).weight.zero_()
    assert "kept" in model.cache


def test_a_sum_of_bits_moves_with_every_value() -> None:
    values = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    assert bit_sum(values) == bit_sum(values.flip(0)) != bit_sum(values + torch.tensor([[0, 0], [0, 1e-30]]))
    assert bit_sum(values.half()) != bit_sum(2 * values.half())
    assert bit_sum(values.T) == bit_sum(values)


# Hooks of others


def doubled(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_a_model_in_hand_with_a_hook_of_others_is_refused(kind: str) -> None:
    in_hand = tiny_models.llama_in_hand()
    handle = getattr(in_hand.model.layers[1].mlp, kind)(doubled)
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp runs a hook that is not ours \(doubled of") as caught:
        load_model(in_hand, tokenizer=tiny_models.tokenizer())
    assert "handle.remove()" in caught.value.hint
    handle.remove()
    load_model(in_hand, tokenizer=tiny_models.tokenizer())


def test_a_module_whose_forward_was_replaced_is_refused() -> None:
    in_hand = tiny_models.llama_in_hand()
    projection = in_hand.model.layers[1].mlp.down_proj
    original = projection.forward
    projection.forward = lambda values: 2 * original(values)
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.down_proj computes something else") as caught:
        load_model(in_hand, tokenizer=tiny_models.tokenizer())
    assert "remove_hook_from_module" in caught.value.hint
    del projection.forward
    load_model(in_hand, tokenizer=tiny_models.tokenizer())


def test_a_hook_that_came_later_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_models.llama()
    model.hf_model.model.layers[1].mlp.register_forward_hook(doubled)
    rollout(model, PROMPTS[:1], [None], max_new_tokens=2)
    assert ["model.layers.1.mlp runs a hook" in record.getMessage() for record in caplog.records] == [True]


def test_hooks_by_which_transformers_records_outputs_are_no_hooks_of_others() -> None:
    in_hand = tiny_models.llama_in_hand()
    in_hand(torch.tensor([[1, 5, 9]]), output_hidden_states=True)
    assert load_model(in_hand, tokenizer=tiny_models.tokenizer()).layers == 3


# Tokens without an embedding


def test_padding_never_reads_an_embedding_that_is_not_there() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    in_hand = tiny_models.llama_in_hand()
    assert tokenizer.pad_token_id == in_hand.get_input_embeddings().weight.shape[0]
    model = load_model(in_hand, tokenizer=tokenizer)
    assert model.pad_id == 2
    expected = tiny_models.llama()
    assert rollout(model, PROMPTS, [None], 6).token_ids == rollout(expected, PROMPTS, [None], 6).token_ids
    in_hand.generation_config.eos_token_id = 10**6
    assert load_model(in_hand, tokenizer=tokenizer).pad_id == 0
