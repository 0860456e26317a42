"""The command `probe`: one JSON document, tables, results and report of its run, and errors before a model is read."""

from __future__ import annotations

import json

import pytest

import tiny_models
from controlwindow.cli.options import ModelSource
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.runs import session
from small_probe import CONTROL, DETECTOR, TARGET


def toml(perturbation: str) -> str:
    find = {"positive": list(CHAT_PROMPTS[:8]), "negative": list(TEXT_PROMPTS[:8])}
    return f"""
name = "mode"
horizons = [3]
[oracles.target]
type = "regex"
pattern = "h"
[prompts]
select = {json.dumps(list(CHAT_PROMPTS[8:16]))}
evaluate = {json.dumps(list(CHAT_PROMPTS[16:32]))}
[prompts.find]
positive = {json.dumps(find["positive"])}
negative = {json.dumps(find["negative"])}
[log_odds]
kind = "tokens"
target = {json.dumps(TARGET)}
control = {json.dumps(CONTROL)}
{perturbation}
"""


@pytest.fixture
def behavior_file(tmp_path):
    path = tmp_path / "mode.toml"
    path.write_text(toml('[perturbation]\nkind = "swap_characters"'), "utf-8")
    return path


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(ModelSource, "open", lambda _: tiny_models.llama())
    monkeypatch.setattr(session, "set_detector", lambda *_: DETECTOR)


def test_a_probe_is_one_document_and_its_run_can_be_read_again(command, tiny, behavior_file, tmp_path):
    out = tmp_path / "run"
    arguments = ["probe", "tiny", "-b", behavior_file, "--sizes", "1,4", "--passes", 1500, "--out", out]
    first = command(*arguments, "--json")
    assert (first.code, first.err) == (0, "")
    document = first.json()
    assert document["verdict"]["kind"] in ("opposition", "routing", "mixed", "neither")
    assert document["passes_taken"] <= document["passes"]["total"] <= 1500
    assert document["effects"][0]["setting"] == {
        "intervention": "ablate", "size": 1, "factor": 0.0, "layer": -1, "strength": 0.0
    }  # fmt: skip
    again = command("results", out, "--json")
    assert again.json() == document
    table = command("results", out)
    assert table.code == 0
    for words in (
        "importance, in logits",
        "effects on F",
        "generated text",
        "inject mean difference",
        "at most, stated",
    ):
        assert words in table.out
    drawn = command("report", out, "--json")
    assert drawn.json()["report"].endswith("report.html")
    assert len(drawn.json()["figures"]) == 6


@pytest.mark.parametrize(
    ("perturbation", "options", "message"),
    [
        ("", [], "defines no perturbation"),
        ('[perturbation]\npairs = [["a b", "a c"]]', [], "has 1 perturbation pairs in split 'find'"),
        ('[perturbation]\nkind = "swap_characters"', ["--sizes", "many"], "sizes are whole numbers"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_read(command, monkeypatch, tmp_path, perturbation, options, message):
    def never(*_):
        raise AssertionError("a model was read")

    monkeypatch.setattr(ModelSource, "open", never)
    path = tmp_path / "mode.toml"
    path.write_text(toml(perturbation), "utf-8")
    found = command("probe", "tiny", "-b", path, *options)
    assert found.code == 2
    assert message in found.err.replace("\n", " ")
    assert "hint: " in found.err
