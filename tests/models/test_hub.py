"""Models of the hub: looked through as folders are, with nothing fetched that is not read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import tiny_models
from controlwindow.errors import ArchitectureError, ModelError
from controlwindow.models import hub, load_model

COMMIT = "0123456789abcdef"


class Hub:
    """A hub that has one model, and gives its files out by name."""

    def __init__(self, files: Path, cache: Path) -> None:
        self.files, self.folder = files, cache / "snapshots" / COMMIT
        self.asked: list[tuple[str | None, list[str]]] = []

    def download(
        self, name: str, revision: str | None, allow_patterns: Sequence[str], ignore_patterns: Sequence[str] | None
    ) -> str:
        assert name == "owner/model"
        self.asked.append((revision, sorted(allow_patterns)))
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.files.rglob("*")):
            relative = path.relative_to(self.files)
            wanted = any(relative.match(pattern) for pattern in allow_patterns)
            left = any(relative.match(pattern) for pattern in ignore_patterns or ()) and len(relative.parts) > 1
            if path.is_file() and wanted and not left:
                (self.folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.folder / relative)
        return str(self.folder)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    files = tmp_path / "remote"
    tiny_models.llama_in_hand().save_pretrained(files, max_shard_size="20KB")
    tiny_models.tokenizer(tiny_models.CHAT_TEMPLATE).save_pretrained(files)
    (files / "consolidated.safetensors").write_bytes(b"the same weights once more")
    (files / "pytorch_model.bin").write_bytes(b"a pickle")
    (files / "onnx").mkdir()
    (files / "onnx" / "config.json").write_text("{}")
    found = Hub(files, tmp_path / "cache")
    monkeypatch.setattr(hub, "snapshot_download", found.download)
    return found


def test_exactly_the_files_of_one_revision_that_are_read_are_fetched(remote: Hub) -> None:
    model = load_model("owner/model", device="cpu")
    assert (model.name, model.source) == ("owner/model", "owner/model")
    assert model.fingerprint == tiny_models.llama().fingerprint
    assert model.chat.template is not None
    shards = sorted(path.name for path in remote.files.glob("model-*.safetensors"))
    assert remote.asked == [(None, sorted(("*.json", "*.jinja", "*.txt", "*.model"))), (COMMIT, shards)]
    names = {str(path.relative_to(remote.folder)) for path in remote.folder.rglob("*") if path.is_file()}
    assert not names & {"consolidated.safetensors", "pytorch_model.bin", "onnx/config.json"}


def test_what_is_there_is_not_fetched_again(remote: Hub) -> None:
    load_model("owner/model", device="cpu")
    load_model("owner/model", device="cpu")
    assert len(remote.asked) == 3


@pytest.mark.parametrize(
    ("file", "text", "match", "kind"),
    [
        ("adapter_config.json", "{}", "adapter", ModelError),
        ("config.json", '{"model_type": "brandnew"}', "brandnew", ArchitectureError),
        ("config.json", '{"model_type": "llama", "quantization_config": {"quant_method": "awq"}}', "awq", ModelError),
        ("config.json", "[" * 2000, "not valid JSON", ModelError),
    ],
)
def test_what_is_refused_is_refused_before_weights_are_fetched(
    remote: Hub, file: str, text: str, match: str, kind: type[ModelError]
) -> None:
    (remote.files / file).write_text(text)
    with pytest.raises(kind, match=match):
        load_model("owner/model", device="cpu")
    assert len(remote.asked) == 1


def test_an_index_that_leaves_the_folder_fetches_nothing(remote: Hub) -> None:
    path = remote.files / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "../../../secret.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(ModelError, match="not the plain name"):
        load_model("owner/model", device="cpu")
    assert len(remote.asked) == 1
