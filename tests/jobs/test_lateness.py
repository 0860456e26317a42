"""Who comes too late is predicted from generic text: the last layer without a pass, others by what their dose moves."""

from __future__ import annotations

import pytest

from controlwindow.instruments import generic_pass
from controlwindow.instruments.dosing import layer_offsets
from controlwindow.instruments.operations import Add
from controlwindow.instruments.probes import propagation
from controlwindow.jobs.audit import lateness
from controlwindow.jobs.audit.lateness import COORDINATE, Lateness
from controlwindow.models import Neuron


def test_behind_the_last_block_nothing_is_recomputed(llama):
    late = Lateness(llama, generic_pass(llama))
    assert [late(f"L{llama.layers - 1}.N{i}", sign) for i, sign in ((0, 1), (5, -1))] == [0.0, 0.0]


@pytest.mark.parametrize("branch", [1, -1])
def test_elsewhere_a_dose_over_generic_text_decides(llama, branch, monkeypatch):
    generic, neuron = generic_pass(llama), Neuron(1, 7)
    alpha = layer_offsets(llama, generic, 1, COORDINATE)[int(branch < 0), 7]
    assert alpha * branch > 0
    measured = propagation(llama, neuron, (Add(neuron, alpha),), generic.prompt_ids[:2], generic.token_ids[:2])
    for level, expected in ((measured * 1.01, pytest.approx(measured, abs=1e-6)), (measured * 0.99, None)):
        monkeypatch.setattr(lateness, "RECOMPUTED", level)
        assert Lateness(llama, generic)("L1.N7", branch) == expected


def test_a_layer_of_late_neurons_is_not_measured_on(llama, monkeypatch):
    values = iter([0.02, 0.04, 0.06])
    monkeypatch.setattr(lateness, "propagation", lambda *_: next(values))
    late = Lateness(llama, generic_pass(llama))
    assert [late(f"L1.N{i}", 1) for i in range(5)] == [0.02, 0.04, 0.06, 0.04, 0.04]


def test_one_that_is_not_late_keeps_its_layer_open(llama, monkeypatch):
    values = iter([0.02, 0.5, 0.03, 0.01, None])
    monkeypatch.setattr(lateness, "propagation", lambda *_: next(values))
    late = Lateness(llama, generic_pass(llama))
    assert [late(f"L1.N{i}", 1) for i in range(5)] == [0.02, None, 0.03, 0.01, None]
