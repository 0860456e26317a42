"""Streaming: the tokens of `rollout`, the surprisals of `token_nll`, and the model as it was when a reader leaves."""

from __future__ import annotations

import pytest

import controlwindow as cw
import tiny_families
from controlwindow.errors import UsageError
from controlwindow.instruments.dosing import row_operations
from controlwindow.instruments.scoring import token_nll
from controlwindow.instruments.streaming import Token, stream

PROMPT = "How do I make a pear cake?"
DOSES = [None, cw.Dose("L1.N7", 0.8), cw.Dose("L0.N3", -1.5)]


def streamed(model, doses, length=12, prompt=PROMPT):
    (ids,) = model.token_ids([prompt])
    found: list[Token] = []
    stream(model, ids, [row_operations(model, dose) for dose in doses], length, found.append)
    return ids, [[token for token in found if token.arm == arm] for arm in range(len(doses))]


@pytest.mark.parametrize("positions", ["all", "generated"])
def test_tokens_and_cosines_are_those_of_a_rollout(tiny, positions):
    doses = [None, *(cw.Dose(d.neuron, d.t, positions) for d in DOSES[1:])]
    _, arms = streamed(tiny, doses)
    out = cw.rollout(tiny, [PROMPT], doses, 12)
    assert [[token.token_id for token in arm] for arm in arms] == [row[0] for row in out.token_ids]
    assert all(token.coordinate is None for token in arms[0])
    for arm, coordinates in zip(arms[1:], out.control_coordinates[1:], strict=True):
        assert [token.coordinate for token in arm] == pytest.approx(coordinates[0], abs=1e-5)


def test_surprisals_are_those_of_the_undosed_model(tiny):
    ids, arms = streamed(tiny, DOSES)
    wanted = token_nll(tiny, [ids] * 3, [[token.token_id for token in arm] for arm in arms])
    for arm, values in zip(arms, wanted, strict=True):
        assert [token.surprisal for token in arm] == pytest.approx(values, abs=2e-4)


@pytest.mark.parametrize("case", ["gemma2", "mixtral", "gpt_neox"])
def test_rows_that_go_through_hooks_stream_the_same_tokens(case):
    model = tiny_families.model(case)
    doses = [None, cw.Dose(model.neurons[5], 1.0), cw.Dose(model.neurons[41], -0.7)]
    _, arms = streamed(model, doses, 6)
    out = cw.rollout(model, [PROMPT], doses, 6)
    assert [[token.token_id for token in arm] for arm in arms] == [row[0] for row in out.token_ids]


def test_the_organism_stops_by_itself_and_each_row_ends_once():
    model = cw.load_model("organism:switch")
    doses = [None, cw.Dose("L4.N160", 0.6)]
    _, arms = streamed(model, doses, 64)
    out = cw.rollout(model, [PROMPT], doses, 64)
    assert [[token.token_id for token in arm] for arm in arms] == [row[0] for row in out.token_ids]
    assert [[token.ended for token in arm] for arm in arms] == [[False] * (len(arm) - 1) + [True] for arm in arms]
    assert arms[0][-1].token_id in model.stop_ids


def test_a_reader_that_leaves_ends_it_and_the_model_is_as_it_was(tiny, untouched):
    untouched.append(tiny)

    class Gone(Exception):
        pass

    seen = []

    def leave(token: Token) -> None:
        seen.append(token)
        if len(seen) == 4:
            raise Gone

    (ids,) = tiny.token_ids([PROMPT])
    with pytest.raises(Gone):
        stream(tiny, ids, [row_operations(tiny, dose) for dose in DOSES], 12, leave)
    assert len(seen) == 4


def test_too_long_and_nothing_are_refused(tiny):
    (ids,) = tiny.token_ids([PROMPT])
    with pytest.raises(UsageError, match="exceed the context"):
        stream(tiny, ids, [()], tiny.context, print)
    with pytest.raises(UsageError, match="nothing to generate"):
        stream(tiny, ids, [], 4, print)
