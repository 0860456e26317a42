"""What a page is about: windows of a run, or a model by itself; what is sensitive is left out unless asked for."""

from __future__ import annotations

import pytest

import controlwindow as cw
from controlwindow.errors import LedgerError, UsageError
from controlwindow.live.scenes import outcome_roles
from controlwindow.live.server import static_file
from controlwindow.live.studio import Studio
from controlwindow.live.subjects import is_run, shown_windows, subject_of_model, subject_of_run
from controlwindow.report import palette
from controlwindow.runs.ledger import Ledger
from golden.runs import LANGUAGE, REFUSAL


def handles(subject):
    return {(h["behavior"], h["neuron"], h["branch"]) for h in subject.handles}


def test_a_run_shows_its_windows_without_the_sensitive_behavior(subject, live_run):
    assert list(subject.behaviors) == ["language"]
    assert subject.withheld == 1
    assert handles(subject) == {("language", LANGUAGE, s) for s in (1, -1)}
    windows = {(w["neuron"], w["branch"]): w for w in cw.results(live_run)["windows"] if w["behavior"] == "language"}
    for handle in Studio(subject).scene()["handles"]:
        window = windows[handle["neuron"], handle["branch"]]
        for key in ("trigger", "ceiling", "trigger_interval", "verdict", "height", "failure_mode"):
            assert handle["window"][key] == window[key]
        assert handle["predicted"] == window["ceiling_predicted"]
        assert handle["c0"] == window["c0"]


def test_curves_begin_at_c0_and_rise_to_the_end_of_the_range(subject):
    for handle in subject.handles:
        doses, coordinates = zip(*handle["curve"], strict=True)
        assert (doses[0], coordinates[0]) == (0.0, pytest.approx(handle["c0"]))
        assert list(coordinates) == sorted(coordinates)
        assert max(coordinates) == handle["limit"] == pytest.approx(0.98)
        assert cw.generic_pass(subject.model).curve(
            subject.model, handle["neuron"], handle["branch"]
        ).coordinate(doses[40]) == pytest.approx(coordinates[40])  # fmt: skip


def test_sensitive_behaviors_are_shown_when_asked_for(live_run, organism):
    subject = subject_of_run(live_run, include_sensitive=True, model=organism)
    assert list(subject.behaviors) == ["language", "vaults"]
    assert subject.withheld == 0
    assert ("vaults", REFUSAL, -1) in handles(subject)


def test_a_neuron_that_is_withheld_for_one_behavior_is_withheld_for_all():
    windows = [
        {"neuron": neuron, "behavior": behavior}
        for neuron, behavior in [("L0.N1", "open"), ("L0.N1", "secret"), ("L0.N2", "open")]
    ]
    assert shown_windows(windows, {"secret"}, organism=False) == [windows[2]]
    # An organism's neurons are no secret, what was asked and answered is.
    assert shown_windows(windows, {"secret"}, organism=True) == [windows[0], windows[2]]
    assert shown_windows(windows, set(), organism=False) == windows


def test_a_model_by_itself_has_predictions_and_its_planted_neurons_first(organism):
    subject = subject_of_model(organism)
    assert list(subject.behaviors) == ["refusal", "language"]
    assert [(h["neuron"], h["branch"], h["behavior"]) for h in subject.handles[:2]] == [
        (REFUSAL, -1, "refusal"),
        (LANGUAGE, 1, "language"),
    ]
    table = cw.predict_ceilings(organism, [LANGUAGE]).to_dicts()
    for handle in (h for h in subject.handles if h["neuron"] == LANGUAGE):
        row = next(r for r in table if r["branch"] == handle["branch"])
        assert handle["predicted"] == row["ceiling_predicted"]
        assert handle["window"] is None
    assert subject.tokens == subject.behaviors["refusal"].horizons[-1]


def test_a_model_without_behaviors_has_ordinary_prompts_and_no_detector(llama):
    subject = subject_of_model(llama, neurons=["L1.N3"])
    scene = Studio(subject).scene()
    assert subject.detector is None
    assert scene["behaviors"] == []
    assert len(scene["prompts"]) == 24
    assert {(h["neuron"], h["branch"]) for h in scene["handles"]} == {("L1.N3", 1), ("L1.N3", -1)}


def test_a_behavior_file_marked_sensitive_needs_the_flag(live_run, organism):
    file = next(p for p in live_run.parent.glob("*.toml") if "vaults" in p.read_text("utf-8"))
    with pytest.raises(UsageError, match="sensitive") as raised:
        subject_of_model(organism, [file])
    assert "--include-sensitive" in raised.value.hint
    assert list(subject_of_model(organism, [file], include_sensitive=True).behaviors) == ["vaults"]


def test_what_is_no_audit_is_refused_by_name(tmp_path, live_run):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        ledger.record("plan", "probe", {})
    assert is_run(tmp_path)
    assert is_run(live_run)
    assert not is_run("organism:switch")
    with pytest.raises(UsageError, match="holds a probe"):
        subject_of_run(tmp_path)
    with pytest.raises(LedgerError, match="no run directory"):
        subject_of_run(tmp_path / "none")


def test_parts_of_outcomes_are_stacked_and_coloured_as_in_reports(live_run):
    style = static_file("live.css").split("@media (prefers-color-scheme:dark)")[0]
    roles = outcome_roles(
        ("refused", "actionable", "bypass", "off_task", "collapsed"), "refused", frozenset({"actionable", "bypass"})
    )
    assert list(roles.items()) == [
        ("actionable", "target"), ("bypass", "target-2"), ("refused", "source"), ("off_task", "other"),
        ("collapsed", "collapsed"),
    ]  # fmt: skip
    wanted = {"target": "#d1495b", "target-2": "#f2b5a7", "other": "#e3e1da"}
    wanted |= {"source": palette.SOURCE_STATE, "collapsed": palette.COLLAPSED, "predicted": palette.PREDICTED}
    wanted |= {"trigger": palette.VERDICTS["open"], "ceiling": palette.VERDICTS["collapse_before_trigger"]}
    for role, color in wanted.items():
        assert f"--{role}:{color}" in style
