"""What a card and its census say: every fact once, and what the card names is not told again by the census."""

from __future__ import annotations

import pytest
from cards import card

from controlwindow import catalogue as module
from controlwindow.catalogue import behaviors_of, load_card
from controlwindow.errors import OrganismError
from controlwindow.validation.truth import choose_organisms, truth_of


def test_everything_that_is_known_is_told_once():
    truth = truth_of(card(), "a")
    assert [(c.neuron, c.branch, c.origin) for c in truth.controllers] == [
        ("L0.N1", -1, "planted"),
        ("L1.N1", 1, "planted"),
        ("L0.N5", 1, "natural"),
    ]
    assert [(c.neuron, c.role, c.mode) for c in truth.constructed] == [
        ("L3.N1", "failure", "too_late"),
        ("L0.N2", "decoy", None),
    ]
    assert truth.closed_in_census == ("L1.N6", "L2.N7"), "a neuron that opens on one branch is not a closed one"
    assert (truth.sampled, truth.neurons, truth.distributed) == (4, 40, False)


def test_a_behavior_that_the_census_left_out_has_no_sample():
    truth = truth_of(card(), "b")
    assert (truth.sampled, truth.natural, truth.closed) == (0, (), ())
    assert truth_of(card(census=None), "a").neurons is None
    assert truth_of(card(), "c").distributed


def test_behaviors_are_those_of_the_card_then_those_it_speaks_of():
    assert behaviors_of(card()) == ("a", "b", "c")
    assert behaviors_of(card(behaviors=())) == ("b", "a", "c")
    assert behaviors_of(load_card("organism:switch")) == ("refusal", "language")


def test_missing_organisms_are_named_unless_they_were_asked_for(monkeypatch):
    monkeypatch.setitem(module._KNOWN, "organism:elsewhere", ("llama", "elsewhere"))
    chosen = choose_organisms()
    assert "organism:elsewhere" in chosen.missing
    assert "organism:switch" in [c.name for c in chosen.cards]
    assert [c.name for c in choose_organisms(["switch"]).cards] == ["organism:switch"]
    with pytest.raises(OrganismError, match="missing from this installation"):
        choose_organisms(["switch", "elsewhere"])
    with pytest.raises(OrganismError, match="unknown organism"):
        choose_organisms(["nothing"])
