"""Windows of vectors: a neuron's write as a vector has the neuron's window, and a run goes on without its files."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from rich.console import Console

import controlwindow as cw
from controlwindow.errors import UsageError
from controlwindow.jobs.vectors.kind import VectorsKind
from controlwindow.runs.kinds import Shown, kind_of
from small_behaviors import write_mode

NEURON = cw.Neuron(1, 7)


@pytest.fixture(scope="module")
def measured(llama, tmp_path_factory):
    """A neuron's write, three times as long, as a vector in a file."""
    folder = tmp_path_factory.mktemp("vectors")
    write_mode(folder, "a")
    np.save(folder / "write.npy", 3 * cw.write_direction(llama, NEURON).float().numpy())
    windows = cw.audit_vectors(llama, folder / "mode.toml", [f"{folder}/write.npy:1"], folder / "run")
    return folder, windows


def test_a_neurons_write_as_a_vector_has_the_neurons_window(llama, measured):
    folder, windows = measured
    neurons = cw.audit(llama, folder / "mode.toml", neurons=[NEURON], top=0, planted=False).windows
    assert [(w.neuron, w.branch) for w in windows] == [("write@1", 1), ("write@1", -1)]
    for vector, neuron in zip(windows, neurons, strict=True):
        assert vector.branch == neuron.branch
        assert vector.c0 == pytest.approx(neuron.c0, abs=1e-4)
        assert 3 * vector.budget == pytest.approx(neuron.budget, rel=1e-5)
        # The same push, prompt by prompt: what a neuron writes is added behind its block.
        doses = [[(d.t, d.n, d.shares) for d in window.doses] for window in (vector, neuron)]
        assert len(doses[0]) >= 5
        assert doses[0] == doses[1]
        assert (vector.verdict, vector.height) == (neuron.verdict, neuron.height)


def test_a_run_is_read_and_gone_on_with_without_its_files(llama, measured, tmp_path):
    folder, windows = measured
    shutil.copytree(folder / "run", tmp_path / "run")
    (folder / "write.npy").rename(folder / "moved.npy")
    assert isinstance(kind_of(tmp_path / "run"), VectorsKind)
    before = cw.results(tmp_path / "run")
    assert before["finished"]
    assert [(row["vector"], row["layer"]) for row in before["windows"]] == [("write@1", 1)] * 2
    again = cw.resume(tmp_path / "run", model=llama)
    assert [(w.trigger, w.ceiling) for w in again] == [(w.trigger, w.ceiling) for w in windows]
    assert cw.results(tmp_path / "run") == before
    (folder / "moved.npy").rename(folder / "write.npy")


def test_vectors_of_sensitive_behaviors_are_withheld_where_neurons_are(measured):
    folder, _ = measured
    shown = {}
    for neurons in (False, True):
        console = Console(file=io.StringIO(), width=200)
        for line in VectorsKind().terminal(folder / "run", Shown(neurons=neurons)):
            console.print(line)
        shown[neurons] = console.file.getvalue()
    assert "write@1" in shown[True]
    assert "write@1" not in shown[False]
    assert "withheld +" in shown[False]


def test_what_makes_no_run_is_refused(llama, measured):
    folder, _ = measured
    given = f"{folder}/write.npy:1"
    with pytest.raises(UsageError, match="share a name"):
        cw.audit_vectors(llama, folder / "mode.toml", [given, given])
    with pytest.raises(UsageError, match="are needed"):
        cw.audit_vectors(llama, folder / "mode.toml", [])
