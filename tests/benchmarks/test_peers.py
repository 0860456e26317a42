"""Peers as the benchmarks run them: in processes of their own. Here their interpreter is that of the tests."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from benchmarks import environments, grid
from benchmarks.contenders import ONE_DOSE, ONE_ROW, REFERENCE, ROWS, Local, PeerKind
from benchmarks.equality import compare
from benchmarks.peers.protocol import Job
from benchmarks.work import SIZES, Grid, Settings, engine_tokens, random_llama
from controlwindow.models import Model, Neuron

SETTINGS = Settings(threads=1, repeats=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_llama(SIZES["tiny"], torch.float32)


@pytest.fixture(scope="module")
def small(model: Model) -> Grid:
    prompts = model.token_ids(["How do I open the vault?", "Tell me about the hen."])
    return Grid(tuple(map(tuple, prompts)), Neuron(1, 5), (0.0, -3.0, 40.0), 5)


@pytest.fixture(scope="module")
def job(model: Model, small: Grid, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("model")
    model.hf_model.save_pretrained(folder)
    return small.job(model, folder, SETTINGS)


@pytest.fixture(autouse=True)
def this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.contenders.interpreter", lambda _name: Path(sys.executable))


def test_plain_peers_and_the_engine_equal_the_reference(model: Model, small: Grid, job: Job) -> None:
    plain = grid.reference(job, SETTINGS)
    assert [len(row) for dose in plain["tokens"] for row in dose] == [
        len(row) for dose in plain["margins"] for row in dose
    ]
    with ExitStack() as stack:
        peers, missing = grid.start((ROWS, ONE_DOSE, ONE_ROW), job, stack, SETTINGS)
        ours = Local(grid.OURS, grid.OURS, lambda: engine_tokens(model, small))
        admitted, standings = grid.admit([ours, *peers], plain, SETTINGS)
    assert not missing
    assert [s.state for s in standings] == ["equal"] * 4, [s.reason for s in standings]
    assert len(admitted) == 4
    assert standings[1].versions["transformers"]


def test_a_contender_with_other_tokens_is_listed_and_not_timed(model: Model, small: Grid, job: Job) -> None:
    tokens = engine_tokens(model, small)["tokens"]
    plain = {"tokens": tokens, "margins": [[[1.0] * len(row) for row in dose] for dose in tokens]}
    wrong = [[[*row[:-1], row[-1] + 1] for row in dose] for dose in tokens]
    assert not compare(tokens, plain["margins"], wrong).equal
    admitted, standings = grid.admit([Local("wrong", "Wrong", lambda: {"tokens": wrong})], plain, SETTINGS)
    assert admitted == []
    assert standings[0].state == "unequal"
    assert "differ" in standings[0].reason


def test_a_peer_that_cannot_run_is_listed_with_its_reason(job: Job) -> None:
    missing = PeerKind("pyvene", "pyvene", "pyvene_rows.py", "pyvene")
    with ExitStack() as stack:
        peers, standings = grid.start((missing,), job, stack, SETTINGS)
    assert peers == []
    assert standings[0].state == "unavailable"
    assert standings[0].reason == "ModuleNotFoundError: No module named 'pyvene'"
    absent = job.__class__(**{**vars(job), "model": os.devnull})
    with pytest.raises(environments.Unavailable) as caught:
        grid.reference(absent, SETTINGS)
    assert caught.value.reason


def test_requirements_that_cannot_be_installed_are_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.txt").write_text("./there-is-no-such-package.whl\n", "utf-8")
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "environments")
    with pytest.raises(environments.Unavailable) as caught:
        environments.interpreter("broken")
    assert "there-is-no-such-package" in caught.value.reason
    assert not (tmp_path / "environments" / "broken" / ".requirements").exists()


@pytest.mark.parametrize("kind", [*grid.PEER_KINDS, REFERENCE], ids=lambda kind: kind.name)
def test_every_peer_has_a_script_and_pinned_requirements(kind: PeerKind) -> None:
    assert (environments.PEERS / kind.script).is_file()
    lines = (environments.PEERS / f"{kind.environment}.txt").read_text("utf-8").split()
    assert lines
    assert all("==" in line for line in lines)
