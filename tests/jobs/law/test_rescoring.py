"""A law document scored anew: rows stay as they were measured, and what they lack is read from the weights."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from controlwindow.errors import LedgerError
from controlwindow.jobs.law.call import rescore
from controlwindow.jobs.law.document import VERSION
from controlwindow.jobs.law.rescoring import rescored
from controlwindow.values import from_table, to_table

LAW = Path(__file__).resolve().parents[3] / "docs" / "results" / "law.json"
MASSIVE = "organism:massive"


@pytest.fixture(scope="module")
def old():
    """The committed document of one model, as version 1 wrote it: no write columns, no population."""
    document = json.loads(LAW.read_text("utf-8"))
    records = [dict(r) for r in from_table(document["records"]) if r["model"] == MASSIVE]
    for r in records:
        del r["column"]
    model = {key: value for key, value in document["models"][MASSIVE].items() if key != "population"}
    kept = {key: document[key] for key in ("order", "plan")}
    return {**kept, "version": 1, "scores": {}, "models": {MASSIVE: model}, "records": to_table(records)}


@pytest.fixture(scope="module")
def new(old):
    return rescored(old, today=date(2026, 1, 2))


def test_rows_stay_and_columns_come_from_the_weights(old, new):
    before, after = from_table(old["records"]), from_table(new["records"])
    assert [{key: value for key, value in r.items() if key != "column"} for r in after] == list(before)
    columns = {r["neuron"]: r["column"] for r in after}
    # The card says which neurons are silent copies of which.
    assert columns["L1.N27"] == columns["L1.N17"] == "L1.N17"
    assert columns["L4.N363"] == columns["L4.N325"] == "L4.N325"
    assert columns["L4.N126"] == "L4.N126"
    assert new["models"][MASSIVE]["population"] == {"neurons": 2304, "census_open": {"refusal": 10}}
    assert new["scores"]["cases"]["scored"] < new["scores"]["cases"]["pairs"] == len(before)


def test_the_history_says_what_was_done(new):
    assert new["version"] == VERSION
    [said] = new["history"]
    assert (said["on"], said["from_version"], said["to_version"]) == ("2026-01-02", 1, VERSION)
    assert said["records"].startswith("as measured; ")


def test_scored_twice_is_scored_the_same_without_any_weights(new, tmp_path):
    path = tmp_path / "law.json"
    path.write_text(json.dumps(new), "utf-8")
    again = rescore(path)
    assert again["scores"] == new["scores"]
    assert again["records"] == new["records"]
    assert [said["records"] for said in again["history"][1:]] == ["as measured"]
    assert json.loads(path.read_text("utf-8")) == json.loads(json.dumps(again))


def test_weights_that_are_not_at_hand_are_named(old):
    elsewhere = {**old, "models": {"story-model": old["models"][MASSIVE]}}
    with pytest.raises(LedgerError, match="the weights of story-model") as raised:
        rescored(elsewhere)
    assert "--rescore" in raised.value.hint
    other = {**old, "models": {MASSIVE: {**old["models"][MASSIVE], "fingerprint": "0" * 64}}}
    with pytest.raises(LedgerError, match="the weights of organism:massive"):
        rescored(other)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 99}', '{"records": {}}'])
def test_what_is_no_law_document_is_refused(text, tmp_path):
    path = tmp_path / "law.json"
    path.write_text(text, "utf-8")
    with pytest.raises(LedgerError, match="law document"):
        rescore(path)
    with pytest.raises(LedgerError, match="no law document can be read"):
        rescore(tmp_path / "nowhere.json")
