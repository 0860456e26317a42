"""What the ledger says of a model beyond its weights: what it asks of generation and rollouts leave out."""

from __future__ import annotations

import json
import os
import stat

import pytest

import tiny_models
from controlwindow.models import load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.manifest import write_json
from controlwindow.runs.progress import Silent
from controlwindow.runs.records import origin_record
from controlwindow.runs.session import prepare


def asking(**settings):
    hf_model = tiny_models.llama_in_hand()
    for name, value in settings.items():
        setattr(hf_model.generation_config, name, value)
    return load_model(hf_model, tokenizer=tiny_models.tokenizer())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"repetition_penalty": 1.3}, "repetition_penalty 1.3"),
        ({"no_repeat_ngram_size": 3, "min_new_tokens": 5}, "no_repeat_ngram_size 3, min_new_tokens 5"),
        ({"suppress_tokens": [3]}, "suppress_tokens [3]"),
        ({"stop_strings": ["\n"], "max_time": 1.0}, "stop_strings ['\\n'], max_time 1.0"),
    ],
)
def test_settings_that_rollouts_do_not_obey_are_said(settings, said):
    (note,) = [note for note in origin_record(asking(**settings))["notes"] if "generation settings" in note]
    assert note == (f"The checkpoint's generation settings ask for {said}; rollouts are greedy and leave it out.")


def test_neutral_settings_are_not_worth_a_word():
    record = origin_record(asking(repetition_penalty=1.0, suppress_tokens=[], temperature=0.7))
    assert not any("generation settings" in note for note in record["notes"])


def test_a_prepared_model_is_noted_once(llama):
    with Ledger() as ledger:
        prepare(llama, ledger, Silent(), seed=0, judge=False, prove=False)
        noted = ledger.find("origin", "model")
        prepare(llama, ledger, Silent(), seed=0, judge=False, prove=False)
        assert ledger.find_all("origin") == {"model": noted}
    assert noted["quantisation"] is None
    assert json.loads(json.dumps(noted)) == noted


def test_a_manifest_is_writable_by_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        write_json({"a": 1}, tmp_path / "manifest.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "manifest.json").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
