"""How answers were judged, on the page and at the terminal: judges, oracles against people, corrected rates."""

from __future__ import annotations

import pytest
from synthetic import synthetic_values

from controlwindow.report import load_document
from controlwindow.report.judged import corrected_shares, judge_uses, oracle_figures
from controlwindow.report.pages.audit.page import render_page
from controlwindow.report.pages.audit.tables import coverage_lines

RECORD = {
    "judges": {
        "refused": {"judge": "ab" * 32, "rubric": "cd" * 32},
        "on_task": {"judge": {"address": "https://judge.example/v1", "served": "small"}, "rubric": "ef" * 32},
    },
    "agreement": {
        "refused": {
            "type": "judge",
            "labels": {"file": "labels.csv", "sha256": "0" * 64, "yes": ["no"]},
            "confusion": {
                "both": 90,
                "judge_only": 20,
                "people_only": 10,
                "neither": 80,
                "abstained_yes": 3,
                "abstained_no": 1,
            },
            "seed": 0,
            "decides": {"yes": "refused", "of": ["refused", "actionable", "bypass", "off_task"]},
        }
    },
}
SHARES = {"16": {"refused": 0.5, "bypass": 0.25, "collapsed": 0.25}, "32": {"collapsed": 1.0}}


def test_a_share_is_of_the_answers_that_were_decided():
    (share,) = corrected_shares(RECORD, SHARES, 40)
    assert (share["oracle"], share["outcome"], share["horizon"], share["k"], share["n"]) == (
        "refused",
        "refused",
        "16",
        20,
        30,
    )
    # (2/3 − 0.2) / (0.9 − 0.2)
    assert share["value"] == pytest.approx(2 / 3)


def test_outcomes_that_do_not_tell_are_not_corrected():
    measured = {**RECORD["agreement"]["refused"], "decides": None}
    assert corrected_shares({"agreement": {"target": measured}}, SHARES, 40) == []
    assert corrected_shares({}, SHARES, 40) == []


@pytest.fixture(scope="module")
def document():
    values = synthetic_values()
    behavior = values["behaviors"][0]
    behavior["judges"] = judge_uses(RECORD, {"refused": {"yes": 30, "no": 12, "timeout": 2, "format": 1}})
    behavior["figures"] = oracle_figures(RECORD)
    window = next(w for w in values["windows"] if w["behavior"] == "refusal" and w["verdict"] == "open")
    window["corrected"] = corrected_shares(RECORD, SHARES, 40)
    return load_document(values)


def test_the_page_says_how_answers_were_judged(document):
    page = " ".join(render_page(document).html.split())
    assert "weights abababababababab; rubric cdcdcdcdcdcdcdcd" in page
    assert "45 answers judged, 3 left undecided (2 too late, 1 in another form)" in page
    assert "small, served; rubric efefefefefefefef" in page
    assert "judge.example" not in page
    assert "Oracles held against people’s labels" in page
    assert '85 % <span class="interval">[79 %, 89 %]</span>' in page.replace("\u2009", " ").replace("\xa0", " ")
    assert "Rogan–Gladen" in page
    assert "20 of 30" in page


def test_the_terminal_says_so_too(document):
    text = "\n".join(line.plain for line in coverage_lines(document))
    assert "'refused' (judge) against people on 204 answers of labels.csv: agreement 85 %" in text
    assert "4 undecided" in text
    assert "refused 67 % as judged, corrected 67 %" in text


def test_where_nothing_was_measured_nothing_is_said():
    page = render_page(load_document(synthetic_values())).html
    assert "people’s labels" not in page
    assert "Rogan" not in page
    assert "left undecided" not in page
