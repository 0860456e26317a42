"""Folders that hold something else than a whole, plain checkpoint: each is refused by name, none is read in part."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_families
import tiny_models
from controlwindow.errors import ControlWindowError, ModelError
from controlwindow.models import load_model
from controlwindow.models.files import read_json
from controlwindow.models.headers import read_header


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A complete local checkpoint with weights, tokenizer and chat template."""
    return saved(tiny_models.llama_in_hand(), tmp_path / "checkpoint")


def saved(hf_model: Any, directory: Path, **options: Any) -> Path:
    hf_model.save_pretrained(directory, **options)
    tiny_models.tokenizer(tiny_models.CHAT_TEMPLATE).save_pretrained(directory)
    return directory


def refused(directory: Path, match: str, **options: Any) -> ControlWindowError:
    with pytest.raises(ControlWindowError, match=match) as caught:
        load_model(directory, device="cpu", **options)
    assert type(caught.value) is ModelError
    assert caught.value.hint
    assert str(caught.value).isprintable()
    return caught.value


def with_weights(directory: Path, **added: torch.Tensor) -> None:
    weights = load_file(directory / "model.safetensors")
    weights.update({name.replace("__", "."): value for name, value in added.items()})
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def with_config(directory: Path, **changes: Any) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **changes}))


def sharded(directory: Path) -> Path:
    saved(tiny_models.llama_in_hand(), directory, max_shard_size="20KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 3
    return directory


# What the model has no place for


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.0.mlp.down_proj.bias",
        "model.layers.2.post_feedforward_layernorm.weight",
        "model.norm.bias",
        "model.embed_positions.weight",
        "lm_head.bias",
        "model.layers.3.mlp.up_proj.weight",
        "score.weight",
    ],
)
def test_weights_without_a_place_are_refused_by_name(checkpoint: Path, name: str) -> None:
    with_weights(checkpoint, **{name: torch.ones(8)})
    assert "left out in silence" in refused(checkpoint, f"the weight {name.replace('.', '[.]')}").hint


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.mlp.down_proj.weight_scale",
        "model.layers.1.mlp.down_proj.weight_scale_inv",
        "model.layers.1.mlp.down_proj.SCB",
        "model.layers.1.mlp.down_proj.scales",
        "model.layers.1.mlp.down_proj.weight.absmax",
    ],
)
def test_scales_are_refused_as_remnants_of_a_quantisation(checkpoint: Path, name: str) -> None:
    with_weights(checkpoint, **{name: torch.ones(8)})
    assert "float32" in refused(checkpoint, "remnant of a quantisation").hint


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.int32])
def test_codes_are_never_taken_for_weights(checkpoint: Path, dtype: torch.dtype) -> None:
    with_weights(checkpoint, model__layers__1__mlp__down_proj__weight=torch.ones(32, 48).to(dtype))
    refused(checkpoint, r"model\.layers\.1\.mlp\.down_proj\.weight is quantised \(stored as")


def test_unmerged_adapter_weights_are_refused(checkpoint: Path) -> None:
    with_weights(checkpoint, **{"model.layers.0.mlp.down_proj.lora_A.default.weight": torch.ones(2, 2)})
    refused(checkpoint, "part of an adapter that is not merged")


@pytest.mark.parametrize("available", [True, False])
def test_an_adapter_beside_a_model_is_refused_whatever_is_installed(
    checkpoint: Path, available: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.integrations.peft.is_peft_available", lambda *_a, **_k: available)
    (checkpoint / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert "--adapter" in refused(checkpoint, r"adapter \(adapter_config\.json\) beside the model").hint


def test_an_adapter_alone_is_no_model(checkpoint: Path) -> None:
    (checkpoint / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    (checkpoint / "config.json").unlink()
    assert "--adapter" in refused(checkpoint, "an adapter, not a model|adapter, not a model").hint


@pytest.mark.parametrize("name", ["quantize_config.json", "hf_quant_config.json"])
def test_quantisation_announced_elsewhere_is_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text("{}")
    refused(checkpoint, "is quantised")


@pytest.mark.parametrize("key", ["quantization_config", "compression_config", "quantization"])
def test_quantisation_in_the_configuration_is_refused(checkpoint: Path, key: str) -> None:
    with_config(checkpoint, **{key: {"quant_method": "gptq", "bits": 4}})
    refused(checkpoint, "is quantised .*gptq")


# What follows from the configuration, as older versions wrote it


def masks(directory: Path, name: str) -> dict[str, torch.Tensor]:
    triangle = torch.tril(torch.ones(128, 128, dtype=torch.uint8)).view(1, 1, 128, 128)
    prefix = {"gpt2": "transformer.h.{}.attn", "gpt_neo": "transformer.h.{}.attn.attention"}.get(
        name, "gpt_neox.layers.{}.attention"
    )
    return {
        f"{prefix.format(layer)}.{what}": value.clone()
        for layer in range(2)
        for what, value in (("bias", triangle), ("masked_bias", torch.tensor(-1e9)))
    }


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo", "gpt_neox"])
def test_masks_that_older_versions_stored_are_no_weights(tmp_path: Path, case: str) -> None:
    model = tiny_families.model(case)
    saved(model.hf_model, tmp_path)
    with_weights(tmp_path, **masks(tmp_path, case))
    assert load_model(tmp_path, device="cpu").fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("gpt_neo", "transformer.h.0.attn.attention.bias"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "h.1.attn.bias"),
        ("gptj", "transformer.h.0.attn.bias_of_another_kind"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
    ],
)
def test_a_bias_that_is_called_like_a_mask_is_refused(tmp_path: Path, case: str, name: str) -> None:
    saved(tiny_families.in_hand(case), tmp_path)
    with_weights(tmp_path, **{name: torch.ones(32)})
    refused(tmp_path, f"holds the weight {name}, of which")


@pytest.mark.parametrize("half", [False, True])
def test_rotary_frequencies_are_taken_if_they_are_those_of_the_configuration(checkpoint: Path, half: bool) -> None:
    fingerprint = load_model(checkpoint, device="cpu").fingerprint
    frequencies = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    stored = frequencies.half() if half else frequencies
    with_weights(checkpoint, model__layers__0__self_attn__rotary_emb__inv_freq=stored)
    assert load_model(checkpoint, device="cpu").fingerprint == fingerprint
    with_weights(checkpoint, model__layers__0__self_attn__rotary_emb__inv_freq=stored / 2)
    refused(checkpoint, "rotary frequencies")


def test_a_tied_readout_may_lie_in_the_file_too(tmp_path: Path) -> None:
    in_hand = tiny_models.llama_in_hand(tie_word_embeddings=True)
    saved(in_hand, tmp_path)
    embeddings = in_hand.get_input_embeddings().weight.detach().clone()
    with_weights(tmp_path, lm_head__weight=embeddings)
    assert torch.equal(load_model(tmp_path, device="cpu").hf_model.lm_head.weight, embeddings)


def test_another_readout_than_the_tied_one_is_never_dropped(tmp_path: Path) -> None:
    in_hand = tiny_models.llama_in_hand(tie_word_embeddings=True)
    saved(in_hand, tmp_path)
    other = 2 * in_hand.get_input_embeddings().weight.detach()
    with_weights(tmp_path, lm_head__weight=other)
    # Versions of Transformers that tie all the same drop it, and are refused.
    taken: torch.Tensor | None = None
    with suppress(ModelError):
        taken = load_model(tmp_path, device="cpu").hf_model.lm_head.weight
    assert taken is None or torch.equal(taken, other)


@pytest.mark.parametrize("case", tiny_families.CASES)
def test_every_family_saved_comes_back(tmp_path: Path, case: str) -> None:
    if not tiny_families.is_known(case):
        pytest.skip(f"this Transformers version has no {case}")
    model = tiny_families.model(case)
    saved(model.hf_model, tmp_path)
    assert load_model(tmp_path, device="cpu").fingerprint == model.fingerprint


# Files and their index


def test_shards_come_back_as_one_model(tmp_path: Path) -> None:
    sharded(tmp_path)
    in_hand = load_model(tiny_models.llama_in_hand(), tokenizer=tiny_models.tokenizer())
    assert load_model(tmp_path, device="cpu").fingerprint == in_hand.fingerprint


def index_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "model.safetensors.index.json").read_text())
    return found


def write_index(directory: Path, index: Any) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "target",
    [
        "../elsewhere/model.safetensors",
        "/tmp/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "weights.bin",
        "model.safetensors.bin",
        ".model.safetensors",
        "a\x1b[2Jb.safetensors",
        "",
    ],
)
def test_an_index_that_leaves_the_folder_or_the_format_is_refused(tmp_path: Path, target: str) -> None:
    sharded(tmp_path)
    index = index_of(tmp_path)
    index["weight_map"]["model.norm.weight"] = target
    write_index(tmp_path, index)
    refused(tmp_path, r"maps model\.norm\.weight to")


@pytest.mark.parametrize("index", [{}, [], {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": "all"}])
def test_an_index_of_something_else_is_refused(tmp_path: Path, index: Any) -> None:
    sharded(tmp_path)
    write_index(tmp_path, index)
    refused(tmp_path, "maps no weights|holds no JSON object")


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trapped",)


def test_a_pickle_by_the_name_of_safetensors_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = sharded(tmp_path / "model")
    index = index_of(folder)
    torch.save(tiny_models.llama_in_hand().state_dict() | {"x": Trap()}, folder / "decoy.safetensors")
    write_index(folder, {**index, "weight_map": dict.fromkeys(index["weight_map"], "decoy.safetensors")})
    refused(folder, r"decoy\.safetensors is not a complete safetensors file")
    assert not (tmp_path / "trapped").exists()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    last = sorted(tmp_path.glob("model-*.safetensors"))[-1]
    last.unlink()
    refused(tmp_path, f"lacks 1 of .* weight files, such as {last.name}")


def test_a_weight_in_two_shards_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    first, second = sorted(tmp_path.glob("model-*.safetensors"))[:2]
    name = next(iter(load_file(first)))
    save_file({**load_file(second), name: load_file(first)[name]}, second, metadata={"format": "pt"})
    refused(tmp_path, rf"{name} is both in {first.name} and in {second.name}")


def test_a_weight_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    index = index_of(tmp_path)
    files = index["weight_map"]
    files["model.norm.weight"] = next(file for file in files.values() if file != files["model.norm.weight"])
    write_index(tmp_path, index)
    refused(tmp_path, r"lacks 1 of the weights that its index names, such as model\.norm\.weight")


def test_weights_by_another_name_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "weights.safetensors")
    refused(checkpoint, r"holds weights\.safetensors, but no safetensors weights")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
        (3000).to_bytes(8, "little") + b"[" * 3000,
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'.ljust(64),
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}'.ljust(64),
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,0]}}'.ljust(64),
        (64).to_bytes(8, "little") + b'{"a":{"shape":[2],"data_offsets":[0,0]}}'.ljust(64),
    ],
)
def test_headers_of_something_else_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(header)
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        read_header(path)


def test_distributed_checkpoints_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "shard-00000-model-00001-of-00001.safetensors")
    refused(checkpoint, "distributed training checkpoint")


# Sizes and numbers


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 1_000_000},
        {"num_hidden_layers": 4},
        {"hidden_size": 1 << 30},
        {"intermediate_size": 1 << 38},
        {"vocab_size": 1 << 36},
        {"vocab_size": 10**30},
        {"max_position_embeddings": -(10**20)},
        {"num_attention_heads": 0},
        {"num_attention_heads": -1},
        {"hidden_act": "no such function"},
        {"hidden_act": 7},
        {"hidden_size": "wide"},
        {"rope_parameters": {"rope_type": "nonsense"}},
        {"transformers_weights": "../model.safetensors"},
        {"attn_implementation": "owner/kernel"},
        {"layer_types": ["full_attention"] * 7},
    ],
)
def test_sizes_that_are_not_those_of_the_weights_are_refused_before_anything_is_built(
    checkpoint: Path, changes: dict[str, Any]
) -> None:
    with_config(checkpoint, **changes)
    refused(checkpoint, "config|kernel")


def test_a_depth_that_no_file_gives_is_refused_in_every_family(tmp_path: Path) -> None:
    for case, key in (("gpt2", "n_layer"), ("gpt_neo", "num_layers"), ("bloom", "n_layer")):
        directory = saved(tiny_families.in_hand(case), tmp_path / case)
        with_config(directory, **{key: 1_000_000})
        refused(directory, f"{key} = 1,000,000")


def test_position_tables_larger_than_any_model_are_refused(tmp_path: Path) -> None:
    saved(tiny_families.in_hand("gpt_neo"), tmp_path)
    with_config(tmp_path, max_position_embeddings=1 << 22)
    refused(tmp_path, "describes a model of")


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', "[" * 1000 + "]" * 1000, "[" * 10**6]
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_json_that_is_none_is_refused_by_its_file(checkpoint: Path, name: str, text: str) -> None:
    (checkpoint / name).write_text(text)
    refused(checkpoint, rf"{name.replace('.', '[.]')} is not valid JSON")


def test_nesting_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * 60 + "]" * 60)
    read_json(path)
    path.write_text("[" * 70 + "]" * 70)
    with pytest.raises(ModelError, match="nested too deep"):
        read_json(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "other"])
def test_a_pipe_is_refused_not_waited_for(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    refused(checkpoint, "is not a regular file")


def test_a_device_is_refused(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer.json").symlink_to("/dev/zero")
    refused(checkpoint, "is not a regular file")


def test_links_to_ordinary_files_are_followed_as_in_caches_of_the_hub(tmp_path: Path, checkpoint: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in checkpoint.iterdir():
        (linked / path.name).symlink_to(path)
    assert load_model(linked, device="cpu").fingerprint == load_model(checkpoint, device="cpu").fingerprint


def test_oversized_files_are_refused(checkpoint: Path) -> None:
    with (checkpoint / "config.json").open("r+b") as file:
        file.truncate(17 << 20)
    refused(checkpoint, "no more than")


@pytest.mark.parametrize("source", ["a\x00b", "", "red\x1b[31m", "half\ud800"])
def test_paths_that_no_file_system_has_are_refused(source: str) -> None:
    with pytest.raises(ModelError, match="not a path or a name") as caught:
        load_model(source)
    assert str(caught.value).isprintable()


def test_a_path_that_is_too_long_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be looked at"):
        load_model("a" * 5000)


def test_weights_that_cannot_be_read_are_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: Any, **_options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
        read_header(checkpoint / "model.safetensors")


def test_a_folder_by_a_hostile_name_is_shown_harmless(tmp_path: Path) -> None:
    directory = saved(tiny_models.llama_in_hand(), tmp_path / "clean")
    hostile = directory.rename(tmp_path / "\x1b[31mred\u202e")
    # Given through a link: the name itself would be refused.
    link = tmp_path / "link"
    link.symlink_to(hostile)
    assert load_model(link, device="cpu").name == r"\x1b[31mred\u202e"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "WordLevel"}}'),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}'),
        ("tokenizer_config.json", '{"tokenizer_class": "NoSuch", "extra_special_tokens": 7}'),
        ("tokenizer_config.json", '{"chat_template": 7}'),
    ],
)
def test_broken_tokenizers_are_one_error(checkpoint: Path, name: str, text: str) -> None:
    (checkpoint / "chat_template.jinja").unlink(missing_ok=True)
    (checkpoint / name).write_text(text)
    refused(checkpoint, "cannot load|chat template")


def test_what_transformers_warns_of_is_passed_on_in_one_line(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with_config(checkpoint, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "strange\x1b[31mkey": 1})
    load_model(checkpoint, device="cpu")
    said = [record.getMessage() for record in caplog.records if "Transformers says" in record.getMessage()]
    assert said
    assert all(message.isprintable() and r"strange\x1b" in message for message in said)
    assert "\x1b" not in capfd.readouterr().err
