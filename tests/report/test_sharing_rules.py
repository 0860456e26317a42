from __future__ import annotations

import json
import re

import pytest
from synthetic import synthetic_document, synthetic_values

from controlwindow.report import load_document, shareable
from controlwindow.report.sharing import COARSE_STEP


def _refusal(document, **kind):
    return [window for window in shareable(document, **kind).windows if window.behavior == "refusal"]


def test_completions_of_sensitive_behaviors_are_dropped_and_others_stay() -> None:
    document = synthetic_document(organism=False)
    for window in shareable(document).windows:
        texts = [sample.text for sample in window.panel.samples]
        assert all(sample.prompt for sample in window.panel.samples)
        assert (set(texts) == {None}) == (window.behavior == "refusal")
    assert all(
        sample.text for window in _refusal(document, include_completions=True) for sample in window.panel.samples
    )


def test_an_organism_keeps_its_neurons_and_its_invented_secrets() -> None:
    document = synthetic_document(organism=True)
    invented = tuple(b.model_copy(update={"invented": True}) for b in document.behaviors)
    shipped = document.model_copy(update={"behaviors": invented})
    assert shareable(shipped) == shipped
    # A behavior that a user brings may ask for more than the organism's invented knowledge.
    shared = shareable(document)
    assert [window.neuron for window in shared.windows] == [window.neuron for window in document.windows]
    texts = [s.text for w in shared.windows if w.behavior == "refusal" and w.panel for s in w.panel.samples]
    assert texts
    assert set(texts) == {None}


def test_a_real_model_loses_neurons_and_doses_of_sensitive_behaviors() -> None:
    document = synthetic_document(organism=False)
    hidden = {window.neuron for window in document.windows if window.behavior == "refusal"}
    shared = shareable(document)
    text = shared.model_dump_json()
    for name in hidden:
        assert name not in text
    for window in shared.windows:
        if window.behavior == "language":
            assert not window.withheld
            continue
        assert window.withheld
        assert re.fullmatch(r"neuron [A-Z]+", window.neuron)
        assert window.region in {"early", "middle", "late"}
        exact = (window.layer, window.trigger_t, window.ceiling_t, window.c0, window.budget, window.residual_norm)
        assert set(exact) == {None}
        assert {dose.t for dose in window.doses} == {None}
        assert {dose.c_measured for dose in window.doses} == {None}
        assert {rank.rank for rank in window.panel.ranks} == {None}
        assert not window.panel.top_tokens
        assert not window.panel.activation
        coordinates = [window.trigger, window.ceiling, *(dose.c for dose in window.doses)]
        coordinates += [sample.c for sample in window.panel.samples]
        for value in coordinates:
            if value is not None:
                assert value / COARSE_STEP == pytest.approx(round(value / COARSE_STEP))


def test_both_branches_share_a_pseudonym() -> None:
    document = synthetic_document(organism=False)
    names = {}
    for before, after in zip(document.windows, shareable(document).windows, strict=True):
        assert names.setdefault(before.neuron, after.neuron) == after.neuron


def test_coarse_intervals_still_cover() -> None:
    document = synthetic_document(organism=False)
    for before, after in zip(document.windows, shareable(document).windows, strict=True):
        if after.withheld and before.trigger_interval is not None:
            assert after.trigger_interval[0] <= before.trigger_interval[0]
            assert after.trigger_interval[1] >= before.trigger_interval[1]


def test_a_neuron_withheld_once_is_withheld_everywhere() -> None:
    values = synthetic_values(organism=False)
    copy = json.loads(json.dumps(values["windows"][3])) | {"neuron": "L3.N120", "layer": 3}
    values["windows"].append(copy)
    shared = shareable(load_document(values))
    assert "L3.N120" not in shared.model_dump_json()
    assert "L4.N301" in shared.model_dump_json()


def test_neurons_stay_on_request() -> None:
    document = synthetic_document(organism=False)
    assert _refusal(document, include_neurons=True)[0].neuron == "L3.N120"
    assert shareable(document, include_neurons=True, include_completions=True) == document
