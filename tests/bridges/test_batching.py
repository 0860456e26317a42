"""Requests that come one at a time are the rollouts of one call, together."""

from __future__ import annotations

import threading

import pytest

import controlwindow as cw
from controlwindow.bridges.batching import Engine, Request, engine_of, share
from controlwindow.instruments.dosing import row_operations
from golden.runs import LANGUAGE

PROMPTS = ("Hello.", "How do I make a pear cake?", "Where does the fox live?")


def test_what_is_asked_for_together_is_computed_together_and_as_rollout_computes_it(organism: cw.Model) -> None:
    doses = [None, cw.Dose(LANGUAGE, 0.5)]
    engine = Engine(organism)
    with engine.lock:
        asked = [
            [engine.ask(Request(tuple(ids), row_operations(organism, dose), 12)) for ids in organism.token_ids(PROMPTS)]
            for dose in doses
        ]
    found = [[list(one.result(60).token_ids) for one in row] for row in asked]
    assert found == cw.rollout(organism, PROMPTS, doses, 12).token_ids
    assert sum(engine.batches) == 6
    assert len(engine.batches) <= 2


def test_horizons_differ_and_an_answer_ends_at_a_stop(organism: cw.Model) -> None:
    (ids,) = organism.token_ids(["How do I make a pear cake?"])
    engine = Engine(organism)
    whole = engine.ask(Request(tuple(ids), (), 24)).result(60)
    text = organism.decode(whole.token_ids)
    stop = text.split()[1]
    short = engine.ask(Request(tuple(ids), (), 4)).result(60)
    cut = engine.ask(Request(tuple(ids), (), 24, stops=(stop,))).result(60)
    assert short.token_ids == whole.token_ids[:4]
    assert stop in organism.decode(cut.token_ids)
    assert len(cut.token_ids) < len(whole.token_ids)


def test_sampled_answers_depend_on_their_prompt_and_number_alone(organism: cw.Model) -> None:
    ids = [tuple(one) for one in organism.token_ids(PROMPTS)]
    alone, crowded = Engine(organism), Engine(organism)
    seeds = [alone.seed(3, ids[0]), alone.seed(3, ids[0])]
    crowded.seed(3, ids[1])
    assert [crowded.seed(3, ids[0]), crowded.seed(3, ids[0])] == seeds
    assert len({*seeds, alone.seed(4, ids[0])}) == 3
    first = alone.ask(Request(ids[0], (), 12, seeds[0])).result(60)
    with crowded.lock:
        asked = [crowded.ask(Request(one, (), 12, seeds[0])) for one in (ids[1], ids[0], ids[2])]
    assert asked[1].result(60).token_ids == first.token_ids


def test_an_error_reaches_who_asked_and_the_next_is_served(organism: cw.Model) -> None:
    engine = Engine(organism)
    (ids,) = organism.token_ids(["Hello."])
    with pytest.raises(cw.ControlWindowError, match="max_new_tokens must be at least 1"):
        engine.ask(Request(tuple(ids), (), 0)).result(60)
    assert engine.ask(Request(tuple(ids), (), 2)).result(60).token_ids


def test_an_idle_engine_has_no_thread_and_begins_again(organism: cw.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlwindow.bridges.batching.IDLE", 0.05)
    engine = Engine(organism)
    (ids,) = organism.token_ids(["Hello."])
    first = engine.ask(Request(tuple(ids), (), 2)).result(60)
    (worker,) = [t for t in threading.enumerate() if t.name == "controlwindow rollouts" and t is engine._thread]
    worker.join(60)
    assert not worker.is_alive()
    assert engine.ask(Request(tuple(ids), (), 2)).result(60) == first


def test_a_model_in_hand_goes_before_one_of_its_name(organism: cw.Model) -> None:
    engine = share(organism)
    assert engine_of("organism:switch") is engine is share(organism)
    assert engine.model is organism
