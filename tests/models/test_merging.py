"""PEFT adapters: merged, they are the model and the adapter together; those of another base are refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("peft")

import peft

import tiny_families
import tiny_models
from controlwindow.errors import ModelError
from controlwindow.instruments import rollout
from controlwindow.models import load_model
from tiny_models import CHAT_TEMPLATE, PROMPTS

IDS = torch.tensor([[1, 5, 9, 20, 7]])


def base(directory: Path, case: str = "llama", **changes: Any) -> Path:
    tiny_families.in_hand(case, **changes).save_pretrained(directory)
    tiny_models.tokenizer(CHAT_TEMPLATE).save_pretrained(directory)
    return directory


def adapter(directory: Path, on: Path, targets: Any = ("down_proj", "q_proj"), **options: Any) -> Path:
    """A LoRA adapter with random weights, saved as PEFT saves one; the model that it makes is its attribute."""
    torch.manual_seed(3)
    hf_model = load_model(on, device="cpu").hf_model
    config = peft.LoraConfig(
        r=4, target_modules=list(targets), init_lora_weights=False, task_type="CAUSAL_LM", **options
    )
    adapted = peft.get_peft_model(hf_model, config).eval()
    adapted.peft_config["default"].base_model_name_or_path = str(on)
    adapted.save_pretrained(directory)
    with torch.no_grad():
        torch.save(adapted(input_ids=IDS).logits, directory.parent / "expected.pt")
    return directory


def refused(match: str, *given: Any, **options: Any) -> ModelError:
    with pytest.raises(ModelError, match=match) as caught:
        load_model(*given, device="cpu", **options)
    assert caught.value.hint
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize(
    ("case", "targets", "options"),
    [
        ("llama", ("down_proj", "q_proj"), {}),
        ("llama", ("down_proj",), {"use_dora": True}),
        ("llama", ("gate_proj", "embed_tokens"), {"modules_to_save": ["lm_head"]}),
        ("llama:tied, biases", ("down_proj", "v_proj"), {"bias": "lora_only"}),
        ("gemma2", ("down_proj", "o_proj"), {"use_rslora": True, "rank_pattern": {"down_proj": 2}}),
        ("gpt2", ("c_proj", "c_attn"), {"fan_in_fan_out": True}),
        ("phi3", ("gate_up_proj", "down_proj"), {"alpha_pattern": {"down_proj": 3}}),
    ],
)
def test_the_merged_model_is_the_model_with_its_adapter(
    tmp_path: Path, case: str, targets: Any, options: dict[str, Any]
) -> None:
    on = base(tmp_path / "base", case)
    folder = adapter(tmp_path / "lora", on, targets, **options)
    plain, model = load_model(on, device="cpu"), load_model(on, device="cpu", adapter=folder)
    with torch.no_grad():
        found = model.hf_model(IDS).logits
    torch.testing.assert_close(found, torch.load(tmp_path / "expected.pt"), rtol=1e-4, atol=1e-4)
    assert type(model.hf_model) is type(plain.hf_model)
    assert model.fingerprint != plain.fingerprint
    assert model.neurons.shapes == plain.neurons.shapes
    assert model.adapter is not None
    assert (model.adapter.name, model.adapter.source) == ("lora", str(folder))
    assert plain.adapter is None
    assert rollout(model, PROMPTS[:1], None, 4).token_ids[0][0]


def test_the_hash_is_of_configuration_and_weights(tmp_path: Path) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    first = load_model(on, device="cpu", adapter=folder)
    again = load_model(on, device="cpu", adapter=folder)
    assert first.adapter == again.adapter
    assert first.fingerprint == again.fingerprint
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: 2 * values for name, values in weights.items()}, folder / "adapter_model.safetensors")
    changed = load_model(on, device="cpu", adapter=folder)
    assert changed.adapter != first.adapter
    assert changed.fingerprint != first.fingerprint


def test_a_tokenizer_that_the_adapter_brings_is_used(tmp_path: Path) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    before = load_model(on, device="cpu", adapter=folder).chat.template
    tiny_models.tokenizer("user {{ messages[0].content }}").save_pretrained(folder)
    assert load_model(on, device="cpu", adapter=folder).chat.template != before


def test_an_adapter_of_other_weights_is_refused_by_its_base(tmp_path: Path) -> None:
    on, other = base(tmp_path / "base"), base(tmp_path / "other", seed=7)
    folder = adapter(tmp_path / "lora", on)
    refused(f"was trained on {on}, not on {other}", other, adapter=folder)
    copied = base(tmp_path / "copy")
    assert load_model(copied, device="cpu", adapter=folder).adapter is not None


@pytest.mark.parametrize(("case", "changes"), [("llama", {"hidden_size": 64}), ("gpt2", {})])
def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, case: str, changes: dict[str, Any]) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    other = base(tmp_path / "other", case, **changes)
    # Its base is no longer there to compare with.
    edit(folder, base_model_name_or_path="owner/base")
    assert "owner/base" in refused("does not fit", other, adapter=folder).hint


def test_hub_names_that_differ_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    from controlwindow.models.merging import _check_base

    with pytest.raises(ModelError, match="trained on owner/base, not on owner/other"):
        _check_base(tmp_path, {"base_model_name_or_path": "owner/base"}, "owner/other")
    _check_base(tmp_path, {"base_model_name_or_path": "Owner/Base"}, "owner/base")


def test_a_base_by_another_name_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    edit(folder, base_model_name_or_path="owner/something")
    load_model(on, device="cpu", adapter=folder)
    assert ["names owner/something as its base" in r.getMessage() for r in caplog.records] == [True]


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "of the kind PROMPT_TUNING; only LORA"),
        ({"peft_type": None}, "of the kind None"),
        ({"alora_invocation_tokens": [5]}, "no sum of weights"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "no sum of weights"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "no sum of weights"),
        ({"target_modules": ["no_such"]}, "does not fit"),
        ({"r": "four"}, "does not fit"),
        ({"lora_alpha": 1e400}, "not valid JSON"),
        ({"target_modules": ["down_proj", "q_proj", "up_proj"]}, "it lacks .*up_proj"),
        ({"target_modules": ["down_proj"]}, "q_proj.* has no place"),
    ],
)
def test_configurations_that_are_not_what_is_stored_are_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    edit(folder, **changes)
    refused(match, on, adapter=folder)


def test_weights_without_a_place_are_refused(tmp_path: Path) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.layers.7.mlp.down_proj.lora_A.weight"] = torch.ones(4, 40)
    save_file(weights, folder / "adapter_model.safetensors")
    refused(r"layers\.7\.mlp\.down_proj", on, adapter=folder)


def test_an_adapter_of_tied_embeddings_is_no_sum_of_weights(tmp_path: Path) -> None:
    on = base(tmp_path / "base", "llama:tied, biases")
    folder = adapter(tmp_path / "lora", on, ("embed_tokens",))
    refused("merged weights compute something else", on, adapter=folder)


def test_pickled_adapters_are_never_read(tmp_path: Path) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    refused(r"only pickled weights \(adapter_model\.bin\)", on, adapter=folder)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    on = base(tmp_path / "base")
    refused("is no folder", on, adapter=tmp_path / "absent")
    refused(r"holds no adapter_config\.json", on, adapter=on)
    refused("model in hand", tiny_models.llama_in_hand(), tokenizer=tiny_models.tokenizer(), adapter=on)


def test_without_peft_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = base(tmp_path / "base")
    folder = adapter(tmp_path / "lora", on)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else find(name, *rest))
    assert "controlwindow[peft]" in refused("need peft, which is not installed", on, adapter=folder).hint


def test_an_adapter_merges_into_a_gguf_model(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    import tiny_gguf

    original = tiny_gguf.model("llama")
    path = tiny_gguf.write(tmp_path / "tiny.gguf", original, "llama")
    config = peft.LoraConfig(r=4, target_modules=["down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(original, config).eval()
    adapted.save_pretrained(tmp_path / "lora")
    with torch.no_grad():
        expected = adapted(input_ids=IDS).logits
        found = load_model(path, device="cpu", adapter=tmp_path / "lora").hf_model(IDS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
