"""The committed law document: its scores follow from its records, and some of its neurons are measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_plan import organism_plan

from controlwindow.catalogue import load_card
from controlwindow.jobs.law.candidates import Assignment
from controlwindow.jobs.law.document import HEADLINES, headline, rescore
from controlwindow.jobs.law.measuring import BRANCHES, pair_record, search_of
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.jobs.law.session import open_session
from controlwindow.values import from_table, rounded
from controlwindow.windows.search import RESOLUTION
from controlwindow.windows.window import read_search

LAW = Path(__file__).resolve().parents[3] / "docs" / "results" / "law.json"
MODEL = "organism:switch"
AGAIN = 2
"""Held-out random neurons that are measured again, on both branches."""


@pytest.fixture(scope="module")
def document():
    if not LAW.exists():
        pytest.skip("no law document is committed yet: docs/law.md says why")
    return json.loads(LAW.read_text("utf-8"))


def test_every_score_follows_from_the_records(document):
    scores = json.loads(json.dumps(rescore(document)))
    assert_agree(scores, document["scores"], "scores")
    for key, value in headline(scores).items():
        assert_agree(value, document[key], key)
    assert all(key in document for key in HEADLINES)
    assert document["order"]["proved"]


def assert_agree(mine, theirs, where) -> None:
    """Equal structure, and numbers that differ by no more than another machine's rounding."""
    assert type(mine) is type(theirs), where
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), where
        for key in mine:
            assert_agree(mine[key], theirs[key], f"{where}.{key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), where
        for place, pair in enumerate(zip(mine, theirs, strict=True)):
            assert_agree(*pair, f"{where}[{place}]")
    elif isinstance(mine, float):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6), where
    else:
        assert mine == theirs, where


def test_a_few_neurons_are_measured_again(document, tmp_path):
    records = [r for r in from_table(document["records"]) if r["model"] == MODEL and r["role"] == "held_out"]
    behavior = load_card(MODEL).planted[-1].behavior
    of_behavior = [r for r in records if r["behavior"] == behavior]
    chosen = list(dict.fromkeys(r["neuron"] for r in of_behavior if r["source"] == "random"))[:AGAIN]
    assert len(chosen) == AGAIN
    # The same prompts follow from the seed, and as many searches share batches as did then.
    plan = organism_plan({behavior: behavior}, LawSizes(**document["plan"]["sizes"]))
    known = {(r["neuron"], r["branch"]): r for r in of_behavior}
    with open_session(plan, plan.models[0], tmp_path) as session:
        loaded = session.behaviors[behavior]
        undosed = session.undosed[behavior, "held_out"]
        keys = [(neuron, branch) for neuron in chosen for branch in BRANCHES]
        searches = {key: search_of(session, loaded, *key, undosed, len(of_behavior)) for key in keys}
        session.scheduler.run("again", list(searches.values()))
        for key, search in searches.items():
            again = rounded(
                pair_record(
                    session.ledger,
                    session.entry.layers,
                    loaded,
                    Assignment(key[0], behavior, "held_out", "random"),
                    search,
                    read_search(search, session.plan.sizes.seed),
                    None,
                )
            )
            before = known[key]
            assert again["n"] == before["n"]
            assert again["open"] == before["open"]
            assert again["c0"] == pytest.approx(before["c0"], abs=1e-3)
            # One decoding tie that falls otherwise moves a threshold by less than a bracket.
            for name in ("ceiling", "trigger", "target_trigger"):
                assert (again[name] is None) == (before[name] is None), (key, name)
                if again[name] is not None:
                    assert again[name] == pytest.approx(before[name], abs=RESOLUTION), (key, name)
