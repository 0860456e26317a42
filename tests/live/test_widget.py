"""The page in a notebook: the same module, the same answers, as messages."""

from __future__ import annotations

import sys

import pytest

import controlwindow as cw
from controlwindow.errors import UsageError
from controlwindow.live.server import static_file
from controlwindow.live.widget import Desk
from golden.runs import LANGUAGE

ASK = {"neuron": LANGUAGE, "prompt": "Tell me about the red fox.", "coordinate": 0.5, "tokens": 6}


@pytest.fixture
def desk(studio):
    sent = []
    return Desk(studio, sent.append), sent


def test_the_widget_is_the_page(live_run, organism):
    pytest.importorskip("anywidget", reason="the notebook extra is not installed")
    widget = cw.live_widget(live_run, model=organism)
    assert widget._esm == static_file("live.js")
    assert widget._css == static_file("live.css")
    assert widget.state == {}
    sent = []
    widget.send = sent.append
    widget._desk._send = sent.append
    widget._handle_custom_msg({"id": 3, "call": "scene"}, [])
    assert [(m["id"], m["kind"], m["values"]["model"]["name"]) for m in sent] == [(3, "answer", "organism:switch")]


def test_questions_are_answered_by_their_number(desk, studio):
    taker, sent = desk
    taker.take({"id": 1, "call": "scene"})
    taker.take({"id": 2, "call": "neuron", "values": {"name": "L2.N5"}})
    taker.take({"id": 3, "call": "neuron", "values": {"name": "L99.N5"}})
    taker.take({"id": 4, "call": "generate", "values": {"neuron": LANGUAGE}})
    assert [(m["id"], m["kind"]) for m in sent] == [(1, "answer"), (2, "answer"), (3, "refused"), (4, "refused")]
    assert sent[0]["values"] == studio.scene()
    assert sent[1]["values"] == studio.neuron("L2.N5")
    assert "L99.N5 is not in" in sent[2]["values"]["message"]


def test_a_generation_is_the_servers(desk, organism):
    taker, sent = desk
    taker.take({"id": 7, "call": "generate", "values": ASK}).join(60)
    assert {m["id"] for m in sent} == {7}
    dose = cw.Dose(LANGUAGE, cw.generic_pass(organism).curve(organism, LANGUAGE, 1).dose(0.5))
    out = cw.rollout(organism, ASK["prompt"], [None, dose], 6)
    assert sent[-1]["kind"] == "end"
    assert [sent[-1]["values"]["arms"][arm]["text"] for arm in ("undosed", "dosed")] == [t[0] for t in out.texts]


def test_a_generation_that_is_left_ends(desk):
    taker, sent = desk
    say = taker._send

    def leave_at_the_first_token(message):
        say(message)
        if message["kind"] == "token":
            taker.take({"id": 7, "call": "leave"})

    taker._send = leave_at_the_first_token
    taker.take({"id": 7, "call": "generate", "values": {**ASK, "tokens": 40}}).join(60)
    assert [m["kind"] for m in sent if m["kind"] != "outcome"] == ["begin", "token"]
    # Nobody knows the number any more, and nothing comes of it.
    taker.take({"id": 7, "call": "leave"})


def test_without_its_extra_it_says_what_to_install(organism, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UsageError, match="needs anywidget") as raised:
        cw.live_widget(organism)
    assert raised.value.hint == "pip install 'controlwindow[notebook]'"
