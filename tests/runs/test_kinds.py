"""One table of kinds: every run is found, gone on with, read and refused in the same way."""

from __future__ import annotations

import json
import sqlite3
import sys

import pytest

import controlwindow as cw
from controlwindow.errors import ControlWindowError, LedgerError, UsageError
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.jobs.law.plan import LawPlan, LawSizes
from controlwindow.runs import plan as plans
from controlwindow.runs.kinds import KINDS, do, kind_of, run_ledger
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import commit_plan
from controlwindow.runs.plugins import Registry

CENSUS = CensusPlan(organism="organism:x", fingerprint="f", behaviors=("b",), neurons=2, prompts=8, seed=0)
LAW = LawPlan(sizes=LawSizes(), models=())


class Nothing:
    """A job that measures nothing."""

    def __init__(self, plan, ledger):
        self.plan, self.ledger, self.runs = plan, ledger, 0

    def records(self):
        return []

    def run(self):
        self.runs += 1
        return {"done": True}


def begun(directory, plan):
    with run_ledger(directory) as ledger:
        commit_plan(ledger, plan, [])
    return directory


def test_every_kind_of_run_is_in_the_table():
    assert KINDS.names() == ("audit", "census", "circuit", "comparison", "law", "probe")
    assert all(KINDS[name].name == KINDS[name].plan.kind == name for name in KINDS.names())


def test_a_directory_is_of_the_kind_that_its_plan_says(llama, tmp_path):
    audit = plan_audit(llama, [("refusal", cw.load_behavior("refusal"))])
    for plan in (CENSUS, audit):
        assert kind_of(begun(tmp_path / plan.kind, plan)).name == plan.kind
    begun(tmp_path / "law" / "some-model", LAW)
    assert kind_of(tmp_path / "law").name == "law", "its ledgers lie one below, one for each model"


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(LedgerError, match="no run directory at"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(LedgerError, match="no ledger at"):
        kind_of(tmp_path)
    with Ledger(tmp_path / "ledger.sqlite", create=True):
        pass
    with pytest.raises(LedgerError, match="ended before its plan was written"):
        kind_of(tmp_path)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record("plan", "pilgrimage", {})
    with pytest.raises(LedgerError, match="of the kind 'pilgrimage', which is unknown here"):
        kind_of(tmp_path)


@pytest.mark.parametrize(("first", "then"), [(CENSUS, LAW), (LAW, CENSUS)])
def test_a_ledger_takes_one_kind_of_run(tmp_path, first, then):
    begun(tmp_path, first)
    with run_ledger(tmp_path) as ledger, pytest.raises(LedgerError) as raised:
        do(Nothing(then, ledger))
    assert f"holds a run of another kind ({first.kind}, not {then.kind})" in raised.value.message
    assert raised.value.hint == "give another --out"


def test_an_audit_does_not_go_into_a_directory_of_another_kind(llama, tmp_path):
    audit = plan_audit(llama, [("refusal", cw.load_behavior("refusal"))])
    begun(tmp_path, CENSUS)
    with run_ledger(tmp_path) as ledger, pytest.raises(LedgerError, match=r"another kind \(census, not audit\)"):
        do(Nothing(audit, ledger))
    begun(tmp_path / "audit", audit)
    with run_ledger(tmp_path / "audit") as ledger, pytest.raises(LedgerError, match=r"\(audit, not census\)"):
        do(Nothing(CENSUS, ledger))


@pytest.mark.parametrize("plan", [CENSUS, LAW])
def test_no_kind_of_run_goes_on_under_other_libraries(tmp_path, monkeypatch, plan):
    begun(tmp_path, plan)
    monkeypatch.setattr(plans, "library_versions", lambda: {"torch": "0.1", "transformers": "5.0"})
    with run_ledger(tmp_path) as ledger:
        with pytest.raises(LedgerError, match=r"begun with other libraries \(torch .* → 0\.1"):
            do(Nothing(plan, ledger))
        ledger.record("finished", plan.kind, {})
        assert do(Nothing(plan, ledger)) == {"done": True}, "what is finished may be read under any"


def test_a_ledger_that_notes_no_libraries_is_not_gone_on_with(tmp_path):
    begun(tmp_path, CENSUS)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM event WHERE kind = 'versions'")
    with run_ledger(tmp_path) as ledger, pytest.raises(LedgerError, match="not noted"):
        do(Nothing(CENSUS, ledger))


def test_another_run_of_the_same_kind_is_told_apart_by_its_keys(tmp_path):
    begun(tmp_path, CENSUS)
    other = CENSUS.model_copy(update={"neurons": 3, "seed": 1})
    with (
        run_ledger(tmp_path) as ledger,
        pytest.raises(LedgerError, match="another census: it differs in neurons, seed"),
    ):
        do(Nothing(other, ledger))


def test_the_manifest_says_the_kind(tmp_path):
    with run_ledger(tmp_path) as ledger:
        do(Nothing(CENSUS, ledger), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert (manifest["kind"], manifest["seed"], manifest["fingerprint"]) == ("census", 0, "f")
    assert manifest["configuration"] == CENSUS.record()


def test_what_has_no_page_says_so(tmp_path):
    begun(tmp_path, CENSUS)
    with pytest.raises(UsageError, match="holds a census, which has no page"):
        cw.report(tmp_path)
    with pytest.raises(LedgerError, match="is not finished"):
        cw.results(tmp_path)


EXTENSION = """
from pathlib import Path

from controlwindow.runs.kinds import KINDS, Kind, open_run
from controlwindow.runs.plan import Plan


class CountPlan(Plan):
    kind = "count"
    to: int


class Count:
    def __init__(self, plan, ledger):
        self.plan, self.ledger = plan, ledger

    def records(self):
        return []

    def run(self):
        for number in range(self.plan.to):
            self.ledger.remember("number", str(number), lambda number=number: number)
        return list(self.ledger.find_all("number").values())


class CountKind(Kind):
    name = "count"
    begin = "count"
    plan = CountPlan
    page_name = None

    def job(self, plan, ledger, directory, model, progress):
        return Count(plan, ledger)

    def document(self, directory):
        with open_run(Path(directory)) as ledger:
            return {"numbers": list(ledger.find_all("number").values())}

    def terminal(self, directory):
        yield f"counted to {len(self.document(directory)['numbers'])}"


KINDS.add("count", CountKind())
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Make a distribution with one module and one entry point, as if it had been installed."""

    def make(module: str, text: str, group: str, point: str) -> None:
        folder = tmp_path / "site"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(text, "utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{group}]\n{point} = {module}\n", "utf-8")
        monkeypatch.syspath_prepend(str(folder))

    yield make
    for name in [name for name in sys.modules if name.startswith("outside_")]:
        del sys.modules[name]


def test_a_kind_of_run_comes_from_outside(distribution, tmp_path, monkeypatch, capsys):
    distribution("outside_count", EXTENSION, "controlwindow.kinds", "count")
    # A table that was not searched yet, with what is in this one.
    monkeypatch.setattr(KINDS, "_items", dict(KINDS._items))
    monkeypatch.setattr(KINDS, "_searched", False)
    assert "count" in KINDS.names()
    kind = KINDS["count"]
    run = tmp_path / "run"
    with run_ledger(run) as ledger:
        assert kind.carry_out(kind.job(kind.plan(to=3), ledger, run, None, None), run) == [0, 1, 2]
    assert cw.resume(run) == [0, 1, 2]
    assert cw.results(run) == {"numbers": [0, 1, 2]}
    monkeypatch.setattr(sys, "argv", ["controlwindow", "results", str(run)])
    from controlwindow.cli import main

    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == "counted to 3\n"


def test_a_broken_extension_is_named(distribution):
    distribution("outside_broken", "raise RuntimeError('half installed')", "controlwindow.broken", "odd")
    registry: Registry[object] = Registry("controlwindow.jobs", "controlwindow.broken", "kind of run", leaf="kind")
    with pytest.raises(ControlWindowError) as raised:
        registry.names()
    assert raised.value.message == (
        "the kind of run 'odd' of outside_broken cannot be loaded: RuntimeError: half installed"
    )
