from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import tiny_models
from controlwindow.errors import ModelError, NeuronError
from controlwindow.models import Model, Neuron, load_model
from tiny_models import PROMPTS


def test_neuron_count_equals_the_parameter_shapes(llama: Model, gpt2: Model) -> None:
    assert len(llama.neurons) == sum(b.mlp.gate_proj.weight.shape[0] for b in llama.hf_model.model.layers) == 3 * 48
    assert len(gpt2.neurons) == sum(b.mlp.c_fc.weight.shape[1] for b in gpt2.hf_model.transformer.h) == 2 * 96
    assert llama.d_model == 32
    assert gpt2.d_model == 24


def test_neurons_are_a_sequence_of_every_neuron_once(tiny: Model) -> None:
    every = list(tiny.neurons)
    assert len(every) == len(set(every)) == len(tiny.neurons)
    assert every == sorted(every)
    for position in (0, 1, len(every) // 2, len(every) - 1, -1, -len(every)):
        assert tiny.neurons[position] == every[position]
    assert tiny.neurons[3:60:7] == every[3:60:7]
    assert [tiny.neurons.flat_index(neuron) for neuron in every] == list(range(len(every)))
    for position in (len(every), -len(every) - 1):
        with pytest.raises(IndexError):
            tiny.neurons[position]


@pytest.mark.parametrize("outside", [Neuron(99, 0), Neuron(0, 9999), Neuron(0, 0, 0)])
def test_what_is_outside_is_not_contained(tiny: Model, outside: Neuron) -> None:
    assert outside not in tiny.neurons
    assert "L0.N0" not in tiny.neurons
    with pytest.raises(NeuronError):
        tiny.require(outside)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1)])
def test_neurons_are_counted_from_zero(place: tuple[int, int]) -> None:
    with pytest.raises(NeuronError, match="counts from below 0"):
        Neuron(*place)


def test_fingerprint_is_stable_and_changes_with_one_weight() -> None:
    first, again = tiny_models.llama(), tiny_models.llama()
    assert first.fingerprint == again.fingerprint
    assert re.fullmatch(r"[0-9a-f]{64}", first.fingerprint)
    with torch.no_grad():
        again.hf_model.model.layers[1].mlp.down_proj.weight[3, 4] += 1e-3
    changed = load_model(again.hf_model, tokenizer=again.tokenizer)
    assert changed.fingerprint != first.fingerprint
    assert tiny_models.llama(seed=9).fingerprint != first.fingerprint


def test_fingerprint_tells_types_apart() -> None:
    single = tiny_models.llama()
    half = load_model(tiny_models.llama_in_hand().half(), tokenizer=single.tokenizer)
    assert half.fingerprint != single.fingerprint
    assert half.dtype == torch.float16


def test_encode_pads_on_the_left(tiny: Model) -> None:
    batch = tiny.encode(list(PROMPTS))
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert ids.shape == mask.shape == (len(PROMPTS), max(map(len, tiny.token_ids(PROMPTS))))
    for row, expected in enumerate(tiny.token_ids(PROMPTS)):
        assert ids[row, -len(expected) :].tolist() == expected
        assert mask[row].tolist() == [0] * (ids.shape[1] - len(expected)) + [1] * len(expected)
    assert tiny.encode("bread")["input_ids"].tolist() == tiny.token_ids(["bread"])


def test_raw_prompts_start_with_one_bos(tiny: Model) -> None:
    for ids in tiny.token_ids(PROMPTS):
        assert ids.count(tiny.tokenizer.bos_token_id) == 1
        assert ids[0] == tiny.tokenizer.bos_token_id


def test_padding_does_not_change_what_a_prompt_predicts(tiny: Model) -> None:
    batch = tiny.encode(list(PROMPTS))
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        padded = tiny.hf_model(**batch, position_ids=positions, use_cache=False).logits[:, -1]
    for row, ids in enumerate(tiny.token_ids(PROMPTS)):
        torch.testing.assert_close(padded[row], tiny_models.forward(tiny, ids)[-1], rtol=1e-4, atol=1e-4)


def test_stop_ids_are_those_that_generate_uses() -> None:
    model = tiny_models.llama()
    assert model.stop_ids == {2}
    several = tiny_models.llama_in_hand()
    several.generation_config.eos_token_id = [5, 7]
    assert load_model(several, tokenizer=tiny_models.tokenizer()).stop_ids == {5, 7}


@pytest.mark.parametrize("given", [[[5]], "end", [2.5], {"eos": 2}, True, [True], [None]])
def test_what_is_no_token_does_not_end_a_text(given: Any) -> None:
    in_hand = tiny_models.llama_in_hand()
    in_hand.generation_config.eos_token_id = given
    with pytest.raises(ModelError, match="as its end of text") as caught:
        load_model(in_hand, tokenizer=tiny_models.tokenizer()).token_ids(["bread"])
    assert "generation_config.json" in caught.value.hint


def test_a_foreign_tokenizer_is_refused_before_it_indexes_nothing() -> None:
    small = tiny_models.llama_in_hand(vocab_size=10)
    with pytest.raises(ModelError, match="vocabulary of 10") as caught:
        load_model(small, tokenizer=tiny_models.tokenizer())
    assert "tokenizer" in caught.value.hint
