"""The page, figures and tables of a law document: complete, offline, and the same numbers everywhere."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import altair as alt
import pytest

from controlwindow.jobs.law.document import law_document
from controlwindow.jobs.law.plan import LawModel, LawPlan, LawSizes
from controlwindow.jobs.law.records import Collected
from controlwindow.report.pages.law import figures as law_figures
from controlwindow.report.pages.law import tables as law_tables
from controlwindow.report.pages.law.page import law_text, render_law, write_law
from law_records import forecast, record
from own_script import without_own_script

CHECK = {
    "controls": 4,
    "horizon": 16,
    "auc": 0.9,
    "roc": [[0.5, 0.5, 1.0], [1.0, 0.0, 0.9]],
    "kinds": [
        {"kind": "greedy", "label": "coherent", "n": 2, "collapsed": 0},
        {"kind": "looping", "label": "collapsed", "n": 2, "collapsed": 1},
    ],
}


def model(lineage: str) -> dict:
    return {
        "lineage": lineage,
        "family": "llama",
        "width": 64,
        "layers": 4,
        "fingerprint": lineage * 8,
        "behaviors": ["mode"],
        "skipped": {},
        "versions": {},
        "detector": {"set_on_generic_text": {}, "checked_on_behaviors": {"mode": CHECK}},
        "details": [
            {
                "as_planned": {"trigger": None, "ceiling": 0.7},
                "positions": {"dosed": "generated", "trigger": None, "ceiling": 0.72},
                "longer": None,
                "by_severity": {"0.5": 0.6, "1.0": 0.7, "2.0": None},
            }
        ],
        "generic_text": {"half length": {"n": 4, "median_change": 0.01}},
        "screens_left_out": {},
    }


@pytest.fixture(scope="module")
def document():
    records = []
    for name, lineage in (("m1", "a"), ("m2 <b>&", "b")):
        for i in range(8):
            opened = i % 2 == 0
            first = {"gradient": [1.0 - i, i / 8], "readout_cosine": [0.1 * i, i / 8]}
            records.append(
                record(
                    model=name,
                    lineage=lineage,
                    neuron=f"L1.N{i}",
                    layer=i % 4,
                    region=("early", "bulk", "bulk", "late")[i % 4],
                    ceiling=0.6 + 0.03 * i,
                    open=opened,
                    trigger=0.3 if opened else None,
                    target_trigger=0.3,
                    height=0.9 if opened else 0.1,
                    answer="open" if opened else "too_late",
                    failure_mode=None if opened else "too_late",
                    known=forecast(0.61 + 0.03 * i, open=opened),
                    first_order=first,
                )
            )
    shape = {"family": "llama", "width": 64, "layers": 4, "behaviors": ()}
    entries = tuple(
        LawModel(name=name, source=name, fingerprint=lineage, lineage=lineage, directory=lineage, **shape)
        for name, lineage in (("m1", "a"), ("m2 <b>&", "b"))
    )
    plan = LawPlan(sizes=LawSizes(), models=entries)
    collected = Collected(plan, tuple(records), {"m1": model("a"), "m2 <b>&": model("b")})
    return law_document(collected, {"proved": True, "problems": [], "forecasts": 16, "models": 2})


def test_the_headline_is_made_of_the_scores(document):
    assert document["held_out_neurons"] == 16
    assert document["lineages"] == 2
    assert document["mae_known_models"] == pytest.approx(0.01)
    assert document["verdict_accuracy"] == 1.0
    assert document["majority_accuracy"] == 0.5
    assert document["p_value"] == pytest.approx(2 / 2**8)
    assert document["failure_mode_accuracy"] == 1.0
    met = {aim["what"]: aim["met"] for aim in document["aims"]}
    assert met["verdict accuracy, neurons with an effect"]
    assert not met["held-out neurons"]
    assert not met["failure mode right once measured, cases with known answers"], "16 cases are too few"
    assert document["lineages_scored"] == 2
    assert document["mae_retest"] is None, "no neuron was measured twice"


def test_figures_follow_the_schema(document):
    _, figures = render_law(document)
    assert len(figures) == 6
    scores = document["scores"]
    for specification in (
        law_figures.coverage_by_model(scores, "known"),
        law_figures.errors_by_group(scores),
        law_figures.constants(scores),
        law_figures.roc(document["models"]),
    ):
        assert specification is not None
        alt.Chart.from_dict(specification, validate=True)


def test_the_page_is_offline_and_escapes_names(document):
    page, figures = render_law(document)
    assert "m2 &lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    for outside in ("http://", "https://", "<script", "src="):
        assert outside not in without_own_script(page).replace("http://www.w3.org/2000/svg", "")
    for svg in figures.values():
        ElementTree.fromstring(svg)
    for table in law_tables.paper_tables(document):
        assert table.rows, table.caption
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_what_was_not_measured_is_said_not_drawn(document):
    bare = json.loads(json.dumps(document))
    bare["records"]["rows"] = []
    for key in ("skill_by_lineage", "coverage_by_lineage"):
        bare["scores"]["ceilings"]["left_out"][key] = {}
    page, figures = render_law(bare)
    assert "known-models" not in figures
    assert "errors-by-lineage" not in figures
    assert "Nothing was measured." in page


def test_every_file_is_written_and_says_the_same(document, tmp_path):
    extra = tmp_path / "results" / "law.json"
    files = write_law(document, tmp_path / "run", extra)
    assert all(path.is_file() for path in files)
    assert json.loads(extra.read_text("utf-8")) == json.loads(json.dumps(document))
    assert extra.read_text("utf-8") == (tmp_path / "run" / "law.json").read_text("utf-8") == law_text(document)
    lines = extra.read_text("utf-8").splitlines()
    assert sum(line.startswith("   [") for line in lines) == len(document["records"]["rows"])
    markdown = (tmp_path / "run" / "tables.md").read_text("utf-8")
    assert "| 0.010 |" in markdown
    latex = (tmp_path / "run" / "tables.tex").read_text("utf-8")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(law_tables.paper_tables(document))


def test_halves_that_a_kill_left_are_gone_when_it_is_written_again(document, tmp_path):
    left = [tmp_path / ".tables.tex.x1y2.part", tmp_path / ".law.json.z.part", tmp_path / "figures" / ".a.svg.q.part"]
    (tmp_path / "figures").mkdir()
    for path in (*left, tmp_path / "notes.part"):
        path.write_text("half", "utf-8")
    write_law(document, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.part")] == ["notes.part"], "only what is ours"
