from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model, kept
from controlwindow.models.kept import cache_directory, kept_files, reused


@dataclass(frozen=True, eq=False)
class Found:
    numbers: tuple[float, ...]
    table: torch.Tensor
    within: tuple[tuple[int, ...], ...]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "kept"))
    monkeypatch.setattr(kept, "_WORTH_KEEPING", 0.0)
    return tmp_path / "kept"


def opened(seed: int = 0) -> Model:
    """A model as another process would open it: nothing is in its memory."""
    model = tiny_models.llama(seed)
    return replace(model, source="tiny")


def never() -> Any:
    raise AssertionError("computed again")


def test_a_value_is_computed_once_for_all_processes(directory: Path) -> None:
    value = Found((0.1, math.nan), torch.arange(6.0).view(2, 3), ((1, 2), ()))
    assert kept.kept(opened(), ("a value", 3), lambda: value, (Found,)) is value
    again = opened()
    found = kept.kept(again, ("a value", 3), never, (Found,))
    assert found.within == value.within
    assert found.numbers[0] == 0.1
    assert math.isnan(found.numbers[1])
    assert torch.equal(found.table, value.table)
    assert kept.kept(again, ("a value", 3), never, (Found,)) is found
    file = next(kept_files())
    assert (file.what, file.path.parent.parent) == ("a value", directory)
    assert reused(again) == {"a value": file.made}
    assert [path.name for path in directory.rglob(".*")] == []


def test_another_key_other_weights_and_another_configuration_are_not_mixed_up(directory: Path) -> None:
    kept.kept(opened(), ("a value", 3), lambda: 1)
    assert kept.kept(opened(), ("a value", 4), lambda: 2) == 2
    assert kept.kept(opened(seed=1), ("a value", 3), lambda: 3) == 3
    turned = opened()
    turned.hf_model.config.rope_parameters = {"rope_type": "default", "rope_theta": 77.0}
    assert kept.kept(turned, ("a value", 3), lambda: 4) == 4
    edited = opened()
    with torch.no_grad():
        edited.blocks[0].mlp.down_proj.weight[0, 0] += 1
    assert kept.kept(edited, ("a value", 3), lambda: 5) == 5
    assert kept.kept(opened(), ("a value", 3), never) == 1


def test_a_model_in_hand_is_kept_in_memory_alone(directory: Path) -> None:
    model = replace(opened(), source=None)
    assert kept.kept(model, ("a value",), lambda: 1) == 1
    assert kept.kept(model, ("a value",), never) == 1
    assert not directory.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_damaged_file_is_as_none_and_is_replaced(directory: Path, damage: str) -> None:
    kept.kept(opened(), ("a value",), lambda: [torch.ones(64)])
    path = next(kept_files()).path
    raw = path.read_bytes()
    changed = {"cut": raw[:-9], "flipped": raw[:-1] + bytes([raw[-1] ^ 1]), "text": b"nothing", "empty": b""}
    path.write_bytes(changed[damage])
    assert torch.equal(kept.kept(opened(), ("a value",), lambda: [torch.zeros(2)])[0], torch.zeros(2))
    assert torch.equal(kept.kept(opened(), ("a value",), never)[0], torch.zeros(2))


def test_a_directory_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr(kept, "_WORTH_KEEPING", 0.0)
    assert kept.kept(opened(), ("a value",), lambda: 1) == 1


def test_where_values_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(kept.VARIABLE, "off")
    assert cache_directory() is None
    assert list(kept_files()) == []
    monkeypatch.delenv(kept.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "controlwindow"


def test_generic_statistics_come_back_as_they_were(directory: Path) -> None:
    first = opened()
    generic, statistics = generic_pass(first), text_statistics(first, generic_pass(first))
    again = opened()
    found = generic_pass(again)
    assert {"generic pass", "hook proof"} & set(reused(again)) == {"generic pass"}
    assert (found.prompts, found.prompt_ids, found.token_ids) == (
        generic.prompts,
        generic.prompt_ids,
        generic.token_ids,
    )
    assert found.residual_norm == generic.residual_norm
    for layer in range(first.layers):
        assert torch.equal(found.cosines(again, layer), generic.cosines(first, layer))
    read = text_statistics(again, found)
    assert (read.entropy, read.margin) == (statistics.entropy, statistics.margin)
    assert torch.equal(read.readout, statistics.readout)
    assert set(reused(again)) == {"generic pass", "text statistics"}
