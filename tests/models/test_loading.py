from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    MambaConfig,
    MptConfig,
    PreTrainedModel,
)

import tiny_families
import tiny_models
from controlwindow.catalogue import load_card
from controlwindow.errors import ArchitectureError, ControlWindowError, ModelError, OrganismError
from controlwindow.models import load_model
from controlwindow.models.adapters import FAMILIES, family_of


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A complete local checkpoint with weights, tokenizer and chat template."""
    directory = tmp_path / "checkpoint"
    tiny_models.llama_in_hand().save_pretrained(directory)
    tiny_models.tokenizer(tiny_models.CHAT_TEMPLATE).save_pretrained(directory)
    return directory


def edit_weights(directory: Path, **changes: torch.Tensor | None) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    for name, value in changes.items():
        key = name.replace("__", ".")
        weights.pop(key)
        if value is not None:
            weights[key] = value
    save_file(weights, path, metadata={"format": "pt"})


def refused(source: Any, match: str, kind: type[ControlWindowError] = ModelError, **options: Any) -> ControlWindowError:
    with pytest.raises(ControlWindowError, match=match) as caught:
        load_model(source, **options)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_the_same(tmp_path: Path, tied: bool) -> None:
    in_hand = tiny_models.llama_in_hand(tie_word_embeddings=tied)
    in_hand.save_pretrained(tmp_path / "saved")
    tiny_models.tokenizer(tiny_models.CHAT_TEMPLATE).save_pretrained(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", device="cpu")
    assert loaded.name == "saved"
    assert loaded.source == str(tmp_path / "saved")
    assert loaded.organism is None
    assert loaded.dtype == torch.float32
    assert not loaded.hf_model.training
    assert loaded.fingerprint == load_model(in_hand, tokenizer=loaded.tokenizer).fingerprint
    assert loaded.chat.template is not None


def test_gpt2_comes_back_the_same(tmp_path: Path) -> None:
    model = tiny_models.gpt2()
    model.hf_model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu").fingerprint == model.fingerprint


# Checkpoints hold experts one by one and a multimodal model under other names; both are converted when loaded.
@pytest.mark.parametrize("case", ["mixtral", "qwen2_moe:mixed", "gpt_oss", "gemma3", "phi3", "falcon:new", "cohere2"])
def test_other_families_come_back_the_same(tmp_path: Path, case: str) -> None:
    model = tiny_families.model(case)
    model.hf_model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path, device="cpu").fingerprint == model.fingerprint


def test_half_precision_checkpoints_are_measured_in_float32_on_cpu(tmp_path: Path) -> None:
    tiny_models.llama_in_hand().half().save_pretrained(tmp_path)
    tiny_models.tokenizer().save_pretrained(tmp_path)
    assert load_model(tmp_path, device="cpu").dtype == torch.float32
    assert load_model(tmp_path, device="cpu", dtype="float16").dtype == torch.float16


def test_a_model_in_hand_is_used_as_it_is() -> None:
    in_hand = tiny_models.llama_in_hand()
    before = {k: v.clone() for k, v in in_hand.state_dict().items()}
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    assert model.hf_model is in_hand
    assert model.source is None
    assert all(torch.equal(v, before[k]) for k, v in in_hand.state_dict().items())


def test_a_model_in_hand_needs_its_tokenizer() -> None:
    assert "tokenizer=" in refused(tiny_models.llama_in_hand(), "needs its tokenizer").hint


@pytest.mark.parametrize("source", ["nonsense", "/no/such/directory", "./absent", "../absent/model", "a b/c"])
def test_unknown_names_are_refused(source: str) -> None:
    assert "organism:switch" in refused(source, "unknown model").hint


@pytest.mark.parametrize("source", [None, 3, torch.nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(source: object) -> None:
    refused(source, "cannot load a model from")


def test_an_unknown_organism_is_refused_with_those_that_are_known() -> None:
    assert "organism:switch" in refused("organism:nonsense", "unknown organism", OrganismError).hint


def test_a_hub_id_without_network_says_what_to_do() -> None:
    error = refused("some-owner/some-model", "cannot fetch some-owner/some-model")
    assert "network" in error.hint
    assert "local directory" in error.hint


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, r"holds no config\.json")


@pytest.mark.parametrize("text", ["{", "not json", '{"model_type": "llama",}'])
def test_a_corrupt_configuration_is_refused_by_its_path(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    refused(checkpoint, r"config\.json is not valid JSON")


def test_a_binary_configuration_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_bytes(b"\xff\xfe\x00")
    refused(checkpoint, r"config\.json is not valid JSON")


@pytest.mark.parametrize("text", ["[]", "{}", '"llama"', '{"model_type": "llama", "hidden_size": "wide"}'])
def test_a_configuration_of_something_else_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    refused(checkpoint, "cannot load")


def test_pickled_weights_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    error = refused(checkpoint, r"only pickled weights \(pytorch_model\.bin\)")
    assert "safetensors" in error.hint


def test_pickled_weights_beside_safetensors_are_never_read(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"not a pickle at all")
    assert load_model(checkpoint, device="cpu").layers == 3


def test_a_directory_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    refused(checkpoint, "no safetensors weights")


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_truncated_weights_are_refused(checkpoint: Path, keep: float) -> None:
    path = checkpoint / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    refused(checkpoint, "cannot load")


def test_absent_weights_are_never_made_up(checkpoint: Path) -> None:
    edit_weights(checkpoint, model__layers__1__mlp__down_proj__weight=None)
    refused(checkpoint, r"lacks 1 of the model's weights, such as model\.layers\.1\.mlp\.down_proj\.weight")


def test_weights_of_another_shape_are_refused(checkpoint: Path) -> None:
    edit_weights(checkpoint, model__layers__1__mlp__down_proj__weight=torch.zeros(32, 40))
    refused(checkpoint, "cannot load")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(checkpoint: Path, value: float) -> None:
    damaged = tiny_models.llama_in_hand().model.layers[2].mlp.up_proj.weight.detach().clone()
    damaged[7, 3] = value
    edit_weights(checkpoint, model__layers__2__mlp__up_proj__weight=damaged)
    refused(checkpoint, r"model\.layers\.2\.mlp\.up_proj\.weight holds NaN or infinite")


def test_a_model_in_hand_with_nan_is_refused() -> None:
    in_hand = tiny_models.gpt2_in_hand()
    with torch.no_grad():
        in_hand.transformer.h[0].mlp.c_fc.bias[2] = float("nan")
    refused(in_hand, r"c_fc\.bias holds NaN", tokenizer=tiny_models.tokenizer())


@pytest.mark.parametrize("missing", ["tokenizer.json", "damaged"])
def test_a_checkpoint_without_a_working_tokenizer_is_refused(checkpoint: Path, missing: str) -> None:
    if missing == "damaged":
        (checkpoint / "tokenizer.json").write_text("{")
    else:
        (checkpoint / "tokenizer.json").unlink()
        (checkpoint / "tokenizer_config.json").unlink()
    refused(checkpoint, "cannot load")


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, state_size=4),
        MptConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2),
    ],
    ids=["mamba", "mpt"],
)
def test_families_without_an_adapter_are_refused_by_name(tmp_path: Path, config: Any) -> None:
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    error = refused(tmp_path, f"architecture '{config.model_type}'", ArchitectureError)
    assert "llama, mistral, mixtral" in str(error)
    assert "controlwindow guide architectures" in error.hint
    in_hand = AutoModelForCausalLM.from_config(config)
    assert isinstance(in_hand, PreTrainedModel)
    refused(in_hand, f"architecture '{config.model_type}'", ArchitectureError, tokenizer=tiny_models.tokenizer())


def test_an_architecture_that_transformers_does_not_know_is_refused_by_name(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "brandnew"}))
    refused(checkpoint, "brandnew", ArchitectureError)


def test_remote_code_is_never_run(checkpoint: Path) -> None:
    mapping = {"AutoConfig": "evil.Configuration", "AutoModelForCausalLM": "evil.Model"}
    (checkpoint / "evil.py").write_text("raise SystemExit('remote code ran')")
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": mapping}))
    refused(checkpoint, "remote code is never run")


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
def test_a_model_without_the_readout_is_refused(kind: Any) -> None:
    error = refused(kind(tiny_models.llama_config()), "not built as", ArchitectureError, tokenizer=object())
    assert "ForCausalLM" in error.hint


def test_a_replaced_projection_is_refused() -> None:
    in_hand = tiny_models.llama_in_hand()
    in_hand.model.layers[1].mlp.down_proj = torch.nn.Sequential(in_hand.model.layers[1].mlp.down_proj)
    refused(in_hand, "is Sequential, expected Linear", ArchitectureError, tokenizer=tiny_models.tokenizer())


def test_a_model_without_data_is_refused() -> None:
    with torch.device("meta"):
        in_hand = tiny_models.LlamaForCausalLM(tiny_models.llama_config())
    refused(in_hand, "meta device", tokenizer=tiny_models.tokenizer())


@pytest.mark.parametrize(
    ("device", "match"), [("nonsense", "unknown device"), ("mps", "not supported"), ("meta", "not supported")]
)
def test_devices_that_cannot_serve_are_refused(checkpoint: Path, device: str, match: str) -> None:
    refused(checkpoint, match, device=device)


def test_every_family_is_found_by_each_of_its_types() -> None:
    types = [t for family in FAMILIES for t in family.model_types]
    assert len(types) == len(set(types))
    for family in FAMILIES:
        assert all(family_of(t) is family for t in family.model_types)


def test_output_weight_is_a_view_of_d_model_by_neurons() -> None:
    for model in (tiny_models.llama(), tiny_models.gpt2()):
        ffn = model.ffn[0]
        assert ffn.weight is not None
        assert tuple(ffn.weight.shape) == (model.d_model, model.neurons.widths[0])
        assert ffn.weight.data_ptr() == tiny_models.projection(model, 0).weight.data_ptr()


def test_an_organism_brings_its_generic_prompts_and_others_have_none() -> None:
    shipped = load_model("organism:switch", device="cpu")
    assert shipped.generic_prompts == tuple(load_card("organism:switch").generic_prompts)
    assert len(shipped.generic_prompts) == 32
    in_hand = load_model(shipped.hf_model, tokenizer=shipped.tokenizer)
    assert in_hand.generic_prompts == ()
