"""Every kind of run gives the results, and leaves the plan and the records, that it is pinned to."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest

import controlwindow as cw
from controlwindow.cli import main
from controlwindow.cli.progress import TerminalProgress
from controlwindow.values import round_floats
from golden.behaviors import write_behaviors
from golden.runs import GOLDEN, command_lines, differences, pinned

KINDS = ("audit", "circuit", "probe", "comparison", "law", "census")


@pytest.fixture(scope="module")
def behaviors(tmp_path_factory) -> tuple[Path, Path]:
    return write_behaviors(tmp_path_factory.mktemp("behaviors"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_gives_what_it_is_pinned_to(kind, behaviors, tmp_path, monkeypatch, capsys):
    words = command_lines(*behaviors)[kind]
    monkeypatch.setattr(sys, "argv", ["controlwindow", *words, "--out", str(tmp_path / "run"), "--json"])
    stages = stages_of(monkeypatch)
    with contextlib.suppress(SystemExit):
        main()
    check_numbers(stages, kind)
    found = pinned(json.loads(capsys.readouterr().out), list(tmp_path.rglob("ledger.sqlite")))
    # As they are written: tuples are lists, keys are text.
    found = json.loads(json.dumps(found))
    assert not differences(found, json.loads((GOLDEN / f"{kind}.json").read_text("utf-8")))
    # Gone on with, read and shown by what serves every kind: nothing is measured again, and nothing else comes out.
    before = cells(tmp_path)
    cw.resume(tmp_path / "run")
    assert cells(tmp_path) == before
    assert not differences(json.loads(json.dumps(round_floats(cw.results(tmp_path / "run")))), found["results"])
    monkeypatch.setattr(sys, "argv", ["controlwindow", "results", str(tmp_path / "run")])
    with contextlib.suppress(SystemExit):
        main()
    shown = capsys.readouterr()
    assert shown.out.strip()
    assert "error" not in shown.err


def stages_of(monkeypatch) -> list[str]:
    """Names of the stages that are begun from now on."""
    names: list[str] = []
    original = TerminalProgress.stage

    def noted(self, name, **options):
        names.append(name)
        return original(self, name, **options)

    monkeypatch.setattr(TerminalProgress, "stage", noted)
    return names


def check_numbers(stages: list[str], kind: str) -> None:
    """Every stage says which of how many it is, and they come in that order."""
    if kind == "law":
        own = ("reading the models", "fitting the predictors", "proving the order", "scoring")
        parts = [stage.partition(":")[0] for stage in stages if stage not in own]
        assert list(dict.fromkeys(parts)) == ["calibrating, 1/1", "held-out neurons, 1/1"]
        return
    found = [re.match(r"(\d+)/(\d+) ", stage) for stage in stages]
    assert None not in found, stages
    places = [int(match[1]) for match in found if match]
    assert places == sorted(set(places)), stages
    assert {int(match[2]) for match in found if match} == {max(places)}, stages


def cells(folder: Path) -> list[int]:
    """How many cells the ledgers of a run hold."""
    return [
        sum(contents["cells"].values()) for contents in pinned(None, list(folder.rglob("ledger.sqlite")))["ledgers"]
    ]


def test_a_difference_is_seen():
    assert differences({"a": [1, 2.0]}, {"a": [1, 2.0001]}) == []
    assert differences({"a": [1, 2.0]}, {"a": [1, 2.01]}) == ["/a/1: 2.0 for 2.01"]
    assert differences({"a": True}, {"a": 1.0}) == ["/a: True for 1.0"]
    assert differences({"a": None}, {}) == ["/a: only in one"]
    assert differences([1], [1, 2]) == [": 1 values for 2"]
