"""GGUF files against the models that they were written from, and files of something else."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gguf")
pytest.importorskip("accelerate")

import tiny_gguf
from controlwindow.errors import ArchitectureError, ControlWindowError, ModelError
from controlwindow.instruments.proof import prove_hooks
from controlwindow.models import load_model
from controlwindow.models.gguf import ARCHITECTURES
from controlwindow.models.gguf_header import read_gguf_header

PROMPTS = ["the inner thing there", "é 中文 😀\n\t12", "x"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama")


def refused(path: Path, match: str, kind: type[ControlWindowError] = ModelError) -> ControlWindowError:
    with pytest.raises(ControlWindowError, match=match) as caught:
        load_model(path, device="cpu")
    assert type(caught.value) is kind
    assert caught.value.hint
    assert str(caught.value).isprintable()
    return caught.value


def logits(hf_model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = hf_model(torch.tensor([ids]), use_cache=False).logits[0]
    return found


def test_every_supported_architecture_is_tried() -> None:
    assert {case.partition(",")[0] for case in tiny_gguf.CASES} == set(ARCHITECTURES)


@pytest.mark.parametrize("case", tiny_gguf.CASES)
def test_the_model_is_the_one_that_was_written(tmp_path: Path, case: str) -> None:
    if case.startswith("gemma") and importlib.util.find_spec("transformers.integrations.gguf") is None:
        pytest.skip("this Transformers version reads Gemma's own kind of vocabulary only")
    original = tiny_gguf.model(case)
    model = load_model(tiny_gguf.write(tmp_path / "tiny.gguf", original, case), device="cpu")
    ids = model.token_ids(PROMPTS)
    for row in ids:
        torch.testing.assert_close(logits(model.hf_model, row), logits(original, row), rtol=1e-5, atol=1e-5)
    assert prove_hooks(model) < 1e-4
    assert model.dtype == torch.float32
    count = len(read_gguf_header(tmp_path / "tiny.gguf").tensors)
    assert model.quantisation == f"F32 (100 % of values, {count} tensors)"


def test_the_chat_template_and_the_tokens_are_the_files(written: Path) -> None:
    model = load_model(written, device="cpu")
    assert model.chat.template == hashlib.sha256(tiny_gguf.CHAT_TEMPLATE.encode()).hexdigest()[:16]
    vocabulary = {token: place for place, token in enumerate(tiny_gguf.tokens())}
    spelled = ["<|begin|>", "u", "s", "er", "Ġ", "the", "n", "<|end|>", "<|begin|>", *"assistant", "Ġ"]
    assert model.token_ids(["then"]) == [[vocabulary[token] for token in spelled]]
    assert model.stop_ids == {1}
    assert model.name == "tiny.gguf"
    assert model.source == str(written)
    assert model.file_sha256 == hashlib.sha256(written.read_bytes()).hexdigest()
    assert not model.chat.notes


def test_a_folder_that_holds_one_file_is_that_file(written: Path) -> None:
    (written.parent / "README.md").write_text("a model")
    assert load_model(written.parent, device="cpu").fingerprint == load_model(written, device="cpu").fingerprint
    tiny_gguf.write(written.parent / "other.gguf", tiny_gguf.model("llama"), "llama")
    refused(written.parent, r"holds 2 GGUF files \(other\.gguf, tiny\.gguf\)")


def test_what_lies_beside_the_file_is_not_looked_at(written: Path) -> None:
    for name in ("adapter_config.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        (written.parent / name).write_text("nonsense")
    load_model(written, device="cpu")


@pytest.mark.parametrize(("kind", "within"), [("Q8_0", 0.01), ("Q4_0", 0.2), ("F16", 1e-3), ("BF16", 1e-2)])
def test_quantised_weights_are_dequantised_and_said(tmp_path: Path, kind: str, within: float) -> None:
    original = tiny_gguf.model("llama")
    path = tiny_gguf.write(tmp_path / "tiny.gguf", original, "llama", quantise=kind)
    model = load_model(path, device="cpu")
    found, expected = model.ffn[1].weight, original.model.layers[1].mlp.down_proj.weight.detach()
    assert found is not None
    assert 0 < float((found - expected).abs().max()) < within * float(expected.abs().max())
    assert model.quantisation is not None
    assert model.quantisation.startswith(f"{kind} (")
    assert "F32" in model.quantisation
    assert load_model(path, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_weights_stay_plain_whatever_is_installed(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("transformers.quantizers.quantizer_gguf")
    asked: list[int] = []
    monkeypatch.setattr(kernels, "get_gguf_kernel", lambda: asked.append(1))
    load_model(written, device="cpu")
    assert not asked


def test_rotary_factors_of_the_file_count(tmp_path: Path) -> None:
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    original = tiny_gguf.model("llama", rope_parameters=scaled)
    plain = 5e5 ** -(torch.arange(0, 16, 2) / 16)
    factors = (plain / original.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    assert factors.max() > 2
    path = tiny_gguf.write(tmp_path / "tiny.gguf", original, "llama", tensors={"rope_freqs.weight": factors})
    model = load_model(path, device="cpu")
    ids = list(range(20, 80))
    torch.testing.assert_close(logits(model.hf_model, ids), logits(original, ids), rtol=1e-4, atol=1e-4)
    wrong = tiny_gguf.write(tmp_path / "wrong.gguf", original, "llama", tensors={"rope_freqs.weight": factors[:3]})
    refused(wrong, "rotary factors that do not fit")


@pytest.mark.parametrize("bias", ["blk.0.attn_q.bias", "blk.1.ffn_down.bias", "blk.1.ffn_down.scale", "strange.weight"])
def test_tensors_that_would_be_left_out_are_refused_by_name(tmp_path: Path, bias: str) -> None:
    added = {bias: np.ones(64, np.float32)}
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", tensors=added)
    assert str(refused(path, "weights would be left out")).endswith(f"such as {bias}")


@pytest.mark.parametrize("name", ["blk.1.ffn_down.weight", "token_embd.weight", "output_norm.weight"])
def test_missing_tensors_are_named(tmp_path: Path, name: str) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", without=(name,))
    refused(path, "lacks 1 of the model's weights")


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "stretches positions"),
        ({"llama.logit_scale": 0.5}, "sets logit_scale = 0.5"),
        ({"llama.residual_scale": 0.5}, "sets residual_scale"),
        ({"llama.attention.clamp_kqv": 4.0}, "sets attention.clamp_kqv"),
        ({"general.type": "adapter"}, "holds no model but adapter"),
        ({"split.count": 3}, "one part of a split"),
    ],
)
def test_metadata_that_nothing_carries_over_are_refused_by_name(
    tmp_path: Path, metadata: dict[str, Any], match: str
) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", metadata=metadata)
    refused(path, match)


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", architecture="brandnew")
    assert "qwen2" in str(refused(path, "architecture 'brandnew', which is not supported", ArchitectureError))


def test_a_file_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", tokenizer=False)
    refused(path, "holds no tokenizer")


def test_a_file_without_a_template_is_used_raw(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", template="")
    assert load_model(path, device="cpu").chat.template is None


def test_a_hostile_template_is_refused(tmp_path: Path) -> None:
    template = tiny_gguf.CHAT_TEMPLATE + "{{ 1 / 0 }}"
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama", template=template)
    refused(path, "ZeroDivisionError")


@pytest.mark.parametrize("keep", [0, 3, 20, 200, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(written: Path, keep: float) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    refused(written, "not a complete GGUF file")


@pytest.mark.parametrize(
    "head",
    [
        b"GGML" + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 1, 1, 1) + bytes(60),
        b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 60) + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(60),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 62) + bytes(60),
        b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 1, 1, b"a", 99) + bytes(60),
        b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 8, 1 << 60) + bytes(60),
        b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 4, 1 << 60) + bytes(60),
        b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 9, 3) + bytes(60),
    ],
)
def test_a_header_of_something_else_is_refused_at_once(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(head)
    refused(path, "not a complete GGUF file")


def test_a_depth_that_no_tensor_has_is_refused(tmp_path: Path) -> None:
    original = tiny_gguf.model("llama")
    original.config.num_hidden_layers = 2
    path = tiny_gguf.write(tmp_path / "tiny.gguf", original, "llama")
    path.write_bytes(_replaced(path.read_bytes(), b"llama.block_count", 1_000_000))
    refused(path, "says that it has 1000000 blocks, but holds the weights of 2")


@pytest.mark.parametrize("key", [b"llama.embedding_length", b"llama.feed_forward_length", b"llama.vocab_size"])
def test_sizes_that_the_tensors_do_not_have_are_refused(written: Path, key: bytes) -> None:
    written.write_bytes(_replaced(written.read_bytes(), key, 1 << 30))
    refused(written, "cannot load|describes a model|dimensions of a head")


def _replaced(content: bytes, key: bytes, value: int) -> bytes:
    place = content.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4
    return content[:place] + struct.pack("<I", value) + content[place + 4 :]


@pytest.mark.parametrize("library", ["gguf", "accelerate"])
def test_a_missing_library_is_one_clear_error(written: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name, *rest))
    assert "controlwindow[gguf]" in refused(written, f"need {library}, which is not installed").hint


def test_a_rule_for_words_that_transformers_does_not_know_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.model("llama"), "llama")
    content = path.read_bytes().replace(
        b"\x07\x00\x00\x00\x00\x00\x00\x00default", b"\x07\x00\x00\x00\x00\x00\x00\x00strange"
    )
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        notes = load_model(path, device="cpu").chat.notes
    assert ["'strange'" in note for note in notes] == [True]
    assert notes[0] in caplog.text


def test_a_gguf_file_that_is_not_there_is_unknown() -> None:
    refused(Path("no-such.gguf"), "unknown model")
