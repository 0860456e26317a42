"""When, how long and by which command a run was at work; where neurons are withheld, nothing that one follows from."""

from __future__ import annotations

import json

import pytest

from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.runs import provenance
from controlwindow.runs.command import note_command, note_directory, noted_directory, resume_command
from controlwindow.runs.kinds import do, run_ledger
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.provenance import UNVERIFIED, Work, at_work, duration, work_in, work_of
from controlwindow.secrecy import shareable_command

PLAN = CensusPlan(organism="organism:x", fingerprint="f", behaviors=("b",), neurons=2, prompts=8, seed=0)
WORDS = (
    "controlwindow", "audit", "/home/me/models/mine", "-b", "/home/me/refusal.toml", "--neuron", "L3.N7", "--screen",
    "one", "--top", "5", "--seed", "4", "--out", "/home/me/runs/L3.N7", "--system-prompt", "You are L3.N7",
    "--dtype=float32",
)  # fmt: skip


class Nothing:
    def __init__(self, ledger):
        self.plan, self.ledger = PLAN, ledger

    def records(self):
        return []

    def run(self):
        return {}


@pytest.fixture(autouse=True)
def no_command():
    yield
    note_command(None)


def test_where_neurons_are_withheld_a_command_names_none():
    assert shareable_command(WORDS, hide=True) == [
        "controlwindow", "audit", "mine", "-b", "refusal.toml", "--dtype=float32", "…",
    ]  # fmt: skip
    assert shareable_command(["controlwindow", "audit", "L3.N7.safetensors"], hide=True)[2] == "[withheld].safetensors"


def test_elsewhere_a_command_is_whole_but_for_folders():
    found = shareable_command(WORDS, hide=False)
    assert found[2:5] == ["mine", "-b", "refusal.toml"]
    assert "--neuron L3.N7 --screen one --top 5 --seed 4 --out L3.N7" in " ".join(found)
    assert shareable_command(["x", "--out=/home/me/run", "--level", "0.5"], hide=False) == [
        "x",
        "--out=run",
        "--level",
        "0.5",
    ]


def test_a_withheld_page_tells_the_day_and_a_rough_duration():
    work = Work("2026-11-28T13:01:09+00:00", "2026-11-28T15:07:09+00:00", 7560.0, 1, 0, WORDS)
    assert work.rows(hide=True) == [
        ("begun", "2026-11-28"), ("time at work", "about 2 h 0 min"),
        ("command", "controlwindow audit mine -b refusal.toml --dtype=float32 '…'"),
    ]  # fmt: skip
    assert work.rows(hide=False)[:2] == [("begun", "2026-11-28 13:01 UTC"), ("time at work", "2 h 6 min")]
    assert work._replace(seconds=3.0).rows(hide=True)[1] == ("time at work", "less than 15 min")
    assert work._replace(cut=2, seconds=3.0).rows(hide=False)[1][1] == "3 s, and what 2 cut off before that were"
    assert work._replace(command=None).rows(hide=True)[2] == ("command", "called from Python")
    assert Work().rows(hide=False) == []
    assert Work(verified=False).rows(hide=True) == [("integrity", UNVERIFIED)]


def test_durations_are_short():
    assert [duration(s) for s in (0, 59.4, 60, 3599, 3600, 90000)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min",
    ]  # fmt: skip


def test_a_run_notes_its_work_once_and_a_finished_one_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_now", lambda: "2026-11-28T13:00:00+00:00")
    note_command(["controlwindow", "organisms", "census", "x"])
    for _ in range(2):
        with run_ledger(tmp_path) as ledger:
            do(Nothing(ledger), tmp_path)
    work = work_in(tmp_path)
    assert (work.begun, work.parts, work.cut, work.command[-1]) == ("2026-11-28T13:00:00+00:00", 1, 0, "x")
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert manifest["work"] | {"time": ""} == {
        "begun": work.begun, "ended": work.begun, "time": "", "verified": True,
        "command": "controlwindow organisms census x",
    }  # fmt: skip


def test_a_run_that_was_cut_off_says_so(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        with pytest.raises(KeyboardInterrupt), at_work(ledger):
            raise KeyboardInterrupt
        assert work_of(ledger).rows(hide=False)[1] == ("time at work", "unfinished")
        with at_work(ledger):
            pass
        assert work_of(ledger)._replace(seconds=4.0).rows(hide=False)[1][1] == "4 s, and what 1 cut off before that was"


def test_a_run_of_several_ledgers_begins_with_the_first_and_ends_with_the_last(tmp_path, monkeypatch):
    times = iter(["2026-01-02", "2026-01-03", "2026-01-01", "2026-01-04"])
    monkeypatch.setattr(provenance, "_now", lambda: next(times))
    for name in ("a", "b"):
        with run_ledger(tmp_path / name) as ledger, at_work(ledger):
            pass
    work = work_in(tmp_path)
    assert (work.begun, work.ended, work.parts) == ("2026-01-01", "2026-01-04", 2)


def test_what_is_interrupted_can_say_how_it_is_gone_on_with(tmp_path):
    note_command(["controlwindow", "audit"])
    assert noted_directory() is None
    note_directory(tmp_path / "my run")
    assert resume_command(noted_directory()) == f"controlwindow resume '{tmp_path}/my run'"
