"""One table of kinds: every run is found, gone on with, read and refused in the same way."""

from __future__ import annotations

import json
import sys

import pytest

import controlwindow as cw
import extensions
from controlwindow.errors import ExtensionError, LedgerError, UsageError
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.jobs.law.plan import LawPlan, LawSizes
from controlwindow.jobs.law.runner import run_law
from controlwindow.plugins import KINDS
from controlwindow.runs import kinds
from controlwindow.runs import plan as plans
from controlwindow.runs.kinds import do, find_kind, kind_names, kind_of, run_ledger
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.plan import commit_plan

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
    assert kind_names() == ("audit", "census", "circuit", "comparison", "gate", "law", "probe", "vectors")
    for name in kind_names():
        kind = find_kind(name)
        assert kind is not None
        assert kind.name == kind.plan.kind == name


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


def test_a_run_of_several_ledgers_and_one_of_one_do_not_share_a_directory(tmp_path):
    begun(tmp_path / "law" / "some-model", LAW)
    with pytest.raises(LedgerError, match=r"law holds a run of another kind \(law\)"), run_ledger(tmp_path / "law"):
        pass
    assert not (tmp_path / "law" / "ledger.sqlite").exists()
    begun(tmp_path / "census", CENSUS)
    with pytest.raises(LedgerError, match=r"another kind \(census, not law\)"):
        run_law(LAW, tmp_path / "census")


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
    with run_ledger(tmp_path) as ledger:
        ledger.record("plan", "census", CENSUS.record())
        with pytest.raises(LedgerError, match="not noted"):
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
        cw.draw_report(tmp_path)
    with pytest.raises(LedgerError, match="is not finished"):
        cw.results(tmp_path)


def test_a_kind_of_run_comes_from_outside(tmp_path, monkeypatch, capsys):
    """The one that the documentation shows."""
    modules = {"counting.py": extensions.examples()["counting.py"]}
    points = {KINDS: extensions.example_entry_points()[KINDS]}
    extensions.install(tmp_path / "site", monkeypatch, "outside-count", modules, points)
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    assert "count" in kind_names()
    kind = find_kind("count")
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


def test_a_broken_extension_is_named_when_it_is_asked_for(tmp_path, monkeypatch):
    modules, points = {"odd.py": "raise RuntimeError('half installed')"}, {KINDS: {"odd": "odd"}}
    extensions.install(tmp_path / "site", monkeypatch, "outside-broken", modules, points)
    assert "odd" in kind_names(), "the others are not kept from working"
    with pytest.raises(ExtensionError) as raised:
        find_kind("odd")
    assert "outside-broken 1.2) cannot be loaded: RuntimeError: half installed" in raised.value.message


def test_the_manifest_of_a_finished_run_stays_as_it_is_and_a_lost_one_is_written_again(tmp_path):
    path = tmp_path / "manifest.json"
    for text in ("{}", None):
        with run_ledger(tmp_path) as ledger:
            do(Nothing(CENSUS, ledger), tmp_path)
        if text is not None:
            path.write_text(text, "utf-8")
            with run_ledger(tmp_path) as ledger:
                do(Nothing(CENSUS, ledger), tmp_path)
            assert path.read_text("utf-8") == text
            path.unlink()
    assert json.loads(path.read_text("utf-8"))["kind"] == "census"


class Killed(Nothing):
    """A job whose process dies after its result and before its last manifest."""

    def run(self):
        self.ledger.remember("origin", "model", lambda: {"date": "2026-01-01"})
        self.ledger.remember("result", self.plan.kind, dict)
        raise KeyboardInterrupt


def test_a_run_killed_before_its_last_manifest_writes_it_when_it_is_gone_on_with(tmp_path):
    with run_ledger(tmp_path) as ledger, pytest.raises(KeyboardInterrupt):
        do(Killed(CENSUS, ledger), tmp_path)
    (tmp_path / "manifest.json.part").write_text("{", "utf-8")
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8"))["origin"] is None
    with run_ledger(tmp_path) as ledger:
        do(Nothing(CENSUS, ledger), tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8"))["origin"] == {"date": "2026-01-01"}
    assert list(tmp_path.glob("*.part")) == []
