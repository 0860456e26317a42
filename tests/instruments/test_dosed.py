"""A dosed model: `generate` and pipelines give the tokens of rollouts, and the model is as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from transformers import pipeline

import controlwindow as cw
import tiny_families
import tiny_models
from controlwindow.errors import NeuronError, OperationError

PROMPTS = ["How do I make a pear cake?", "Hello.", "Tell me about the sky, please."]
LENGTH = 8


def generated(model, hf_model, prompts):
    batch = model.encode(prompts)
    ids = hf_model.generate(**batch, do_sample=False, max_new_tokens=LENGTH, pad_token_id=model.pad_id)
    return [row[batch["input_ids"].shape[1] :].tolist() for row in ids]


def until_stop(model, tokens):
    """What a rollout keeps of them: rows that ended are padded."""
    for place, token in enumerate(tokens):
        if token in model.stop_ids:
            return tokens[: place + 1]
    return tokens


@pytest.mark.parametrize("positions", ["all", "generated"])
@pytest.mark.parametrize("case", ["llama", "gpt2", "gemma2", "mixtral", "gpt_neox", "granite"])
def test_generate_gives_the_tokens_of_rollouts(case, positions, untouched):
    model = tiny_families.model(case)
    untouched.append(model)
    before = tiny_models.state_bytes(model)
    dose = cw.Dose(model.neurons[45], -1.2, positions)
    out = cw.rollout(model, PROMPTS, [None, dose], LENGTH)
    with cw.dosed(model, dose) as hf_model:
        assert hf_model is model.hf_model
        alone = [until_stop(model, generated(model, hf_model, [prompt])[0]) for prompt in PROMPTS]
        together = [until_stop(model, row) for row in generated(model, hf_model, PROMPTS)]
    assert alone == together == out.token_ids[1]
    assert out.token_ids[0] != out.token_ids[1]
    after = [until_stop(model, row) for row in generated(model, model.hf_model, PROMPTS)]
    assert after == out.token_ids[0]
    assert tiny_models.state_bytes(model) == before


def test_several_operations_and_none(llama):
    several = [cw.Dose("L0.N3", 0.8), cw.Scale(cw.Neuron(1, 7), 0.0)]
    out = cw.rollout(llama, PROMPTS, [several], LENGTH)
    with cw.dosed(llama, several) as hf_model:
        assert [until_stop(llama, row) for row in generated(llama, hf_model, PROMPTS)] == out.token_ids[0]
    with cw.dosed(llama, None) as hf_model:
        plain = [until_stop(llama, row) for row in generated(llama, hf_model, PROMPTS)]
    assert plain == cw.rollout(llama, PROMPTS, None, LENGTH).token_ids[0]


def test_a_pipeline_is_dosed():
    model = cw.load_model("organism:switch")
    dose = cw.Dose("L4.N160", 0.5)
    prompt = "Tell me about the red fox."
    out = cw.rollout(model, prompt, [None, dose], LENGTH)
    pipe = pipeline("text-generation", model=model.hf_model, tokenizer=model.tokenizer)
    asked = {"do_sample": False, "max_new_tokens": LENGTH, "return_full_text": False}
    with cw.dosed(model, dose):
        (said,) = pipe([{"role": "user", "content": prompt}], **asked)
    assert said["generated_text"].strip() == out.texts[1][0].strip()
    (said,) = pipe([{"role": "user", "content": prompt}], **asked)
    assert said["generated_text"].strip() == out.texts[0][0].strip()


def test_gradients_go_through_a_dose_and_blocks_run_again_with_it():
    # Checkpointing leaves a hook of Transformers' own.
    llama = tiny_models.llama()
    batch = llama.encode(PROMPTS)

    def loss():
        found = llama.hf_model(**batch, use_cache=False)
        return found.logits[batch["attention_mask"].bool()].square().mean()

    with cw.dosed(llama, cw.Add(cw.Neuron(0, 3), 2.0)):
        plain = loss()
        (wanted,) = torch.autograd.grad(plain, llama.hf_model.model.layers[0].mlp.up_proj.weight)
        llama.hf_model.gradient_checkpointing_enable()
        llama.hf_model.train()
        try:
            (found,) = torch.autograd.grad(loss(), llama.hf_model.model.layers[0].mlp.up_proj.weight)
        finally:
            llama.hf_model.eval()
            llama.hf_model.gradient_checkpointing_disable()
    assert torch.allclose(found, wanted, atol=1e-6)
    assert wanted.abs().max() > 0
    assert not torch.isclose(loss(), plain)


def test_the_model_is_restored_after_an_error(tiny, untouched):
    untouched.append(tiny)
    with pytest.raises(IndexError, match="out of range"), cw.dosed(tiny, cw.Dose("L0.N3", 1.0)) as hf_model:
        hf_model(input_ids=torch.tensor([[10**6]]))


def test_what_does_not_fit_is_said_before_anything_runs(llama, untouched):
    untouched.append(llama)
    with pytest.raises(NeuronError), cw.dosed(llama, cw.Add(cw.Neuron(9, 9), 1.0)):
        pytest.fail("the context was entered")
    with pytest.raises(OperationError), cw.dosed(llama, 0.5):
        pytest.fail("the context was entered")
