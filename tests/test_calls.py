"""Calls that mean something else are taken as they are meant, or are one error that says what to give."""

from __future__ import annotations

import pytest

import controlwindow as cw
from controlwindow.errors import ModelError, NeuronError, UsageError
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.models.neuron import as_list
from small_behaviors import make_behavior


@pytest.mark.parametrize(
    "call",
    [
        lambda model: cw.rollout(model, "bread"),
        lambda model: cw.write_direction(model, "L0.N1"),
        lambda model: cw.predict_ceilings(model),
        lambda model: cw.generic_pass(model),
        lambda model: cw.measure_window(model, "L0.N1", "refusal"),
        lambda model: cw.audit(model, "refusal"),
        lambda model: cw.screen(model, "refusal"),
        lambda model: cw.detection(model, "refusal"),
        lambda model: cw.circuit(model, "refusal"),
        lambda model: cw.probe(model, "language"),
        lambda model: cw.compare_interventions(model, "refusal", ["L0.N1"]),
    ],
)
def test_a_name_in_the_place_of_a_model_is_one_error(call):
    with pytest.raises(UsageError, match="'organism:switch' is no loaded model") as caught:
        call("organism:switch")
    assert "load_model" in caught.value.hint


def test_a_text_alone_is_one_undosed_prompt(llama):
    found = cw.rollout(llama, "What is a sundial?", max_new_tokens=3)
    assert found.token_ids == cw.rollout(llama, ["What is a sundial?"], [None], max_new_tokens=3).token_ids
    assert (len(found.texts), len(found.texts[0])) == (1, 1)


@pytest.mark.parametrize("prompts", [3, None, [None], [b"bread"], [("user", "bread")]])
def test_prompts_that_are_no_texts_are_one_error(llama, prompts):
    with pytest.raises(UsageError, match=r"not a text|not texts"):
        cw.rollout(llama, prompts, max_new_tokens=1)


def test_tokens_of_what_is_no_text_are_one_error(llama):
    with pytest.raises(UsageError, match="is tuple, not a text"):
        llama.token_ids([("What is bread?",)])


def test_one_neuron_by_itself_is_a_list_of_one(llama):
    assert as_list(cw.Neuron(0, 1)) == [cw.Neuron(0, 1)]
    alone, listed = cw.predict_ceilings(llama, "L0.N1"), cw.predict_ceilings(llama, ["L0.N1"])
    assert alone.equals(listed)
    assert alone["neuron"].to_list() == ["L0.N1", "L0.N1"]
    behaviors = [("mode", make_behavior())]
    assert plan_audit(llama, behaviors, neurons="L0.N1").neurons == ("L0.N1",)
    assert plan_audit(llama, behaviors, neurons={"mode": "L0.N1"}).neurons_of == {"mode": ("L0.N1",)}


@pytest.mark.parametrize("given", [(-1, 0), (0, -1), (0, 0, -1)])
def test_nothing_counts_from_below_0(given):
    with pytest.raises(NeuronError, match="from below 0"):
        cw.Neuron(*given)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"])
def test_any_part_of_an_adapter_beside_a_model_is_refused(tmp_path, llama, name):
    llama.hf_model.save_pretrained(tmp_path)
    llama.tokenizer.save_pretrained(tmp_path)
    (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=f"PEFT adapter \\({name}\\) beside the model"):
        cw.load_model(tmp_path)


def test_code_that_a_checkpoint_brings_and_that_is_not_run_is_said(tmp_path, llama):
    llama.hf_model.save_pretrained(tmp_path)
    llama.tokenizer.save_pretrained(tmp_path)
    assert not any("auto_map" in note for note in cw.load_model(tmp_path).chat.notes)
    config = (tmp_path / "config.json").read_text("utf-8").replace("{", '{"auto_map": {"AutoModel": "mine.Mine"},', 1)
    (tmp_path / "config.json").write_text(config, "utf-8")
    assert any("(auto_map), which is not run" in note for note in cw.load_model(tmp_path).chat.notes)
