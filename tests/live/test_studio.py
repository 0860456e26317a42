"""The studio: its tokens are those of a rollout, its outcomes those of the run, its placebo a neuron of the layer."""

from __future__ import annotations

from threading import Event

import pytest

import controlwindow as cw
import tiny_families
import tiny_models
from controlwindow.errors import NeuronError, UsageError
from controlwindow.instruments.scoring import token_nll
from controlwindow.live.requests import read_ask
from controlwindow.live.studio import Left, Studio, _Pieces
from controlwindow.live.subjects import subject_of_model, subject_of_run
from controlwindow.runs.ledger import Ledger
from golden.runs import LANGUAGE, REFUSAL

OWN = "Tell me about the red fox."


def told(studio, left=None, **changes):
    events = []
    studio.generate(read_ask({"neuron": LANGUAGE, **changes}), lambda *event: events.append(event), left or Event())
    return events


def of(events, kind, arm=None):
    return [values for name, values in events if name == kind and arm in (None, values.get("arm"))]


def test_tokens_texts_and_cosines_are_those_of_a_rollout(studio, organism):
    events = told(studio, behavior="language", prompt=OWN, coordinate=0.5, tokens=24)
    begin, (end,) = of(events, "begin")[0], of(events, "end")
    t = cw.generic_pass(organism).curve(organism, LANGUAGE, 1).dose(0.5)
    assert begin["arms"] == [
        {"neuron": None, "t": 0.0, "c": None},
        {"neuron": LANGUAGE, "t": t, "c": pytest.approx(0.5)},
    ]
    out = cw.rollout(organism, [OWN], [None, cw.Dose(LANGUAGE, t)], 24)
    ids = organism.token_ids([OWN])[0]
    for place, arm in enumerate(("undosed", "dosed")):
        assert end["arms"][arm]["text"] == out.texts[place][0]
        assert "".join(token["text"] for token in of(events, "token", arm)) == out.texts[place][0]
        assert end["arms"][arm]["tokens"] == len(out.token_ids[place][0])
        (nll,) = token_nll(organism, [ids], [out.token_ids[place][0]])
        assert [token["surprise"] for token in of(events, "token", arm)] == pytest.approx(nll, abs=2e-3)
    assert end["arms"]["dosed"]["c"] == pytest.approx(out.control_coordinate[1][0], abs=1e-4)
    assert end["arms"]["undosed"]["c"] is None
    assert out.texts[0][0] != out.texts[1][0]


@pytest.mark.parametrize("neuron", [LANGUAGE, REFUSAL])
def test_outcomes_at_a_measured_dose_are_those_of_the_run(live_run, organism, neuron):
    studio = Studio(subject_of_run(live_run, include_sensitive=True, model=organism))
    behavior = {LANGUAGE: "language", REFUSAL: "vaults"}[neuron]
    branch = {LANGUAGE: 1, REFUSAL: -1}[neuron]
    checked = 0
    with Ledger(live_run / "ledger.sqlite") as ledger:
        cells = [
            cell
            for cell in ledger.rollout_cells(behavior, neuron)
            if (cell.branch, cell.sample_seed, cell.site) == (branch, None, "activation")
        ]
        for cell in sorted(cells, key=lambda cell: cell.t)[::6]:
            for row in (ledger.rows(cell) or [])[:2]:
                events = told(
                    studio, neuron=neuron, branch=branch, behavior=behavior, prompt_id=row["prompt"], dose=cell.t,
                    tokens=cell.horizon,
                )  # fmt: skip
                found = {str(o["horizon"]): o["outcome"] for o in of(events, "outcome", "dosed")}
                assert found == row["outcomes"]
                checked += 1
    assert checked >= 3


def test_an_own_prompt_is_judged_by_what_needs_no_more_than_its_text(live_run, organism):
    studio = Studio(subject_of_run(live_run, include_sensitive=True, model=organism))
    of_language = of(told(studio, behavior="language", prompt=OWN, coordinate=0.6, tokens=16), "outcome", "dosed")
    assert [(o["horizon"], o["outcome"]) for o in of_language][-1] == (16, "switched")
    # Whether steps are right, only a prompt that has some can tell.
    of_vaults = of(told(studio, behavior="vaults", prompt=OWN, coordinate=0.1, tokens=16), "outcome", "undosed")
    assert {o["outcome"] for o in of_vaults} == {"coherent"}
    high = of(told(studio, behavior="vaults", prompt=OWN, coordinate=0.979, tokens=32), "outcome", "dosed")
    assert high[-1]["outcome"] == "collapsed"


def test_the_placebo_is_another_neuron_of_the_layer_at_the_same_coordinate(studio, organism):
    begin = of(told(studio, prompt=OWN, coordinate=0.4, placebo=True, tokens=4), "begin")[0]
    again = of(told(studio, prompt=OWN, coordinate=0.4, placebo=True, tokens=4), "begin")[0]
    other = of(told(studio, prompt=OWN, coordinate=0.4, placebo=True, draw=1, tokens=4), "begin")[0]
    placebo = begin["arms"][2]
    assert begin == again
    assert other["arms"][2]["neuron"] != placebo["neuron"] != LANGUAGE
    assert cw.Neuron.parse(placebo["neuron"]).layer == cw.Neuron.parse(LANGUAGE).layer
    curve = cw.generic_pass(organism).curve(organism, placebo["neuron"], 1)
    assert curve.coordinate(placebo["t"]) == pytest.approx(begin["arms"][1]["c"], abs=1e-9)


def test_without_a_dose_both_texts_are_the_same_and_there_is_no_placebo(studio):
    events = told(studio, prompt=OWN, coordinate=-0.9, placebo=True, tokens=8)
    end = of(events, "end")[0]["arms"]
    assert set(end) == {"undosed", "dosed"}
    assert end["undosed"] == end["dosed"]


def test_who_leaves_ends_the_generation_and_the_model_is_as_it_was(studio, organism):
    left, seen = Event(), []

    def emit(kind, values):
        seen.append(kind)
        if seen.count("token") == 5:
            left.set()

    studio.generate(read_ask({"neuron": LANGUAGE, "prompt": OWN, "coordinate": 0.4}), emit, left)
    assert seen.count("token") == 5
    assert "end" not in seen
    assert tiny_models.hook_count(organism) == 0
    studio.generate(read_ask({"neuron": LANGUAGE, "prompt": OWN}), lambda *_: pytest.fail("nobody listens"), left)


def test_any_neuron_can_be_asked_for(studio):
    found = studio.neuron("L2.N5")
    assert [(h["neuron"], h["branch"], h["window"]) for h in found] == [("L2.N5", 1, None), ("L2.N5", -1, None)]
    with pytest.raises(NeuronError, match="is not in"):
        studio.neuron("L99.N5")
    with pytest.raises(NeuronError):
        studio.neuron("five")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either prompt or prompt_id"),
        ({"prompt": OWN, "prompt_id": "p"}, "either prompt or prompt_id"),
        ({"prompt_id": "p"}, "belongs to a behavior"),
        ({"prompt": "a\x1eb"}, "U.001E"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": OWN, "tokens": 0}, "tokens"),
        ({"prompt": OWN, "tokens": 100_000}, "tokens"),
        ({"prompt": OWN, "branch": 0}, "branch"),
        ({"prompt": OWN, "coordinate": 1.0}, "coordinate"),
        ({"prompt": OWN, "dose": float("nan")}, "dose"),
        ({"prompt": OWN, "shell": "ls"}, "shell"),
    ],
)
def test_what_is_no_request_is_refused_with_its_field(changes, message):
    with pytest.raises(UsageError, match=message):
        read_ask({"neuron": LANGUAGE, **changes})


def test_what_is_withheld_cannot_be_asked_for(studio):
    with pytest.raises(UsageError, match="no behavior 'vaults'"):
        told(studio, behavior="vaults", prompt=OWN)
    with pytest.raises(UsageError, match="no evaluation prompt"):
        told(studio, behavior="language", prompt_id="find.p000")


def test_a_cap_is_said_and_not_passed():
    model = tiny_families.model("gemma2")
    studio = Studio(subject_of_model(model, neurons=["L0.N3"]))
    handle = studio.scene()["handles"][0]
    assert handle["plateau"] is not None
    assert handle["limit"] < 0.98
    with pytest.raises(UsageError, match="no dose brings"):
        told(studio, neuron="L0.N3", prompt=OWN, coordinate=0.97, tokens=4)
    assert of(told(studio, neuron="L0.N3", prompt=OWN, coordinate=handle["limit"] * 0.8, tokens=4), "end")


class Halves:
    """A tokenizer of bytes: a character may take two tokens."""

    def decode(self, token_ids):
        return bytes(token_ids).decode("utf-8", errors="replace")


def test_half_a_character_waits_for_the_other_half():
    pieces, ids, found = _Pieces(Halves()), [], []
    for byte in "né→a".encode():
        ids.append(byte)
        found.append(pieces.next(ids))
    assert found == ["n", "", "é", "", "", "→", "a"]


def test_leaving_is_no_error_of_the_user():
    assert not issubclass(Left, cw.ControlWindowError)
