"""Results that show themselves: short names, tables, figures, and texts of others that cannot act."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import polars as pl
import pytest
from synthetic import HOSTILE, synthetic_values

from controlwindow.errors import UsageError
from controlwindow.instruments.rollout import Rollouts
from controlwindow.jobs.audit.kind import AuditResult
from controlwindow.runs.progress import NotebookProgress
from controlwindow.windows.window import DosePoint, Window

STORED = [dict(window) for window in synthetic_values()["windows"][:2]]


def window_of(stored: dict) -> Window:
    names = {field.name for field in dataclasses.fields(Window)}
    lacking = {"predictions": {}, "outcomes": {}, "outcomes_at": 0.0, "triggers_by_outcome": {}}
    values = lacking | {name: value for name, value in stored.items() if name in names}
    doses = [
        {field.name: dose.get(field.name, 0) for field in dataclasses.fields(DosePoint)} for dose in stored["doses"]
    ]
    return Window.from_dict({**values, "doses": doses, "float32_check": None})


@pytest.fixture(scope="module")
def opened() -> Window:
    found = window_of(STORED[0])
    assert found.open
    return found


def test_a_window_says_in_a_line_what_it_is(opened):
    assert repr(opened) == (
        f"<Window {opened.neuron} {opened.branch:+d} {opened.behavior}: open, trigger {opened.trigger:.2f}, "
        f"ceiling {opened.ceiling:.2f}, height {opened.height:.0%}, {len(opened.doses)} doses>"
    )


def test_a_window_draws_its_dose_response(opened):
    specification = opened.plot().to_dict()
    rows = specification["datasets"]["shares"]
    assert {row["c"] for row in rows} == {dose.c for dose in opened.doses}
    html = opened._repr_html_()
    assert html.count("<svg") == 1
    assert f"trigger {opened.trigger:.2f}" in html


def test_a_window_without_doses_says_so(opened):
    bare = dataclasses.replace(opened, doses=())
    with pytest.raises(UsageError, match="holds no measured doses"):
        bare.plot()
    assert "<svg" not in bare._repr_html_()


def test_texts_of_a_model_are_escaped_and_cut():
    shown = Rollouts([[HOSTILE, "a" * 999]], [[[1], [1]]], [[0.25, 0.5]], [[[0.25], [0.5]]], [[0, 0]])._repr_html_()
    assert "<svg" not in shown
    assert "&lt;/script&gt;" in shown
    assert "\x1b" not in shown
    assert "a" * 240 + " …" in shown
    assert "a" * 241 not in shown
    assert ">0.25<" in shown


def test_a_long_table_says_what_it_leaves_out():
    shown = Rollouts([["x"] * 25], [[[1]] * 25], [[0.1] * 25], [[[0.1]] * 25], [[0] * 25])._repr_html_()
    assert shown.count("<tr>") == 21
    assert "and 5 more rows" in shown


def test_an_audit_is_a_table_and_a_summary(opened):
    closed = window_of(STORED[1])
    results = SimpleNamespace(behaviors={opened.behavior: {}}, coverage=lambda: {"statement": "2 of 9 were tested."})
    found = AuditResult([opened, closed], results, None)
    table = found.table()
    assert table.columns[:5] == ["neuron", "behavior", "branch", "candidate_from", "verdict"]
    assert table["trigger"].to_list() == [opened.trigger, closed.trigger]
    assert table["trigger_low"][0] == opened.trigger_interval[0]
    assert table.schema["trigger_t"] == pl.Float64
    assert found.summary().splitlines()[-1] == "2 of 9 were tested."
    assert found.summary().startswith(f"{opened.behavior}: 1 of ")
    assert found._repr_html_().count("<tr>") == 3
    assert AuditResult([], results, None).table().columns == table.columns


def test_progress_in_a_notebook_redraws_one_output(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    fake = SimpleNamespace(HTML=str, display=lambda html, display_id: shown.append(html) or handle)
    monkeypatch.setattr("controlwindow.runs.progress.import_module", lambda name: fake)
    progress = NotebookProgress()
    with progress.stage("probe <passes>") as stage:
        stage.update(1, 4)
        progress.rows(2, 4)
    assert 'value="0.250"' in shown[1]
    assert 'value="0.500"' in shown[2]
    assert "probe &lt;passes&gt;" in shown[0]
    assert shown[-1] == "<div>done: probe &lt;passes&gt;</div>"
