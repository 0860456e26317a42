from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.controls import (
    COHERENT_KINDS,
    COLLAPSED_KINDS,
    REPEATING_KINDS,
    build_controls,
)

GREEDY = [list(range(start, start + 40)) for start in range(0, 400, 40)]
SAMPLED = [[token + 1000 for token in answer] for answer in GREEDY]


def by_kind(controls, length):
    return {
        kind: [control for control in controls if (control.kind, control.length) == (kind, length)]
        for kind in (*COHERENT_KINDS, *COLLAPSED_KINDS)
    }


def test_one_text_of_every_kind_for_every_prompt_and_horizon():
    controls = build_controls(GREEDY, SAMPLED, [8, 16, 32])
    counts = Counter((control.kind, control.length) for control in controls)
    assert set(counts.values()) == {10}
    partial = {"spliced", "late_shuffled"}
    assert {kind for kind, length in counts if length == 32} == {*COHERENT_KINDS, *COLLAPSED_KINDS}
    assert {kind for kind, length in counts if length == 16} == {*COHERENT_KINDS, *COLLAPSED_KINDS} - {"late_looping"}
    assert {kind for kind, length in counts if length == 8} == {*COHERENT_KINDS, *COLLAPSED_KINDS} - partial - {
        "late_looping"
    }
    assert {control.kind for control in controls if control.collapsed} == set(COLLAPSED_KINDS)
    assert all(len(control.token_ids) == control.length for control in controls)


def test_each_kind_is_what_its_name_says():
    kinds = by_kind(build_controls(GREEDY, SAMPLED, [32]), 32)
    everything = {token for answer in GREEDY for token in answer[:32]}
    for prompt, answer in enumerate(answer[:32] for answer in GREEDY):
        text = {kind: list(controls[prompt].token_ids) for kind, controls in kinds.items()}
        assert text["greedy"] == answer
        assert text["sampled"] == SAMPLED[prompt][:32]
        assert text["swapped"] in [other[:32] for other in GREEDY]
        assert text["swapped"] != answer
        assert sorted(text["shuffled"]) == answer
        assert text["shuffled"] != answer
        assert set(text["word_salad"]) <= everything
        assert set(text["spliced"]) <= {*answer, *text["swapped"]}
        assert set(text["spliced"]) & set(answer)
        assert set(text["spliced"]) & set(text["swapped"])
        assert text["late_shuffled"][:16] == answer[:16]
        assert sorted(text["late_shuffled"][16:]) == answer[16:]
        assert text["late_looping"][:16] == answer[:16]
        for loop in (text["looping"], text["late_looping"][16:]):
            period = len(set(loop))
            assert period <= 6
            assert loop == (loop[:period] * 32)[: len(loop)]


def test_seeds_repeat_and_differ():
    assert build_controls(GREEDY, SAMPLED, [16], seed=3) == build_controls(GREEDY, SAMPLED, [16], seed=3)
    assert build_controls(GREEDY, SAMPLED, [16], seed=3) != build_controls(GREEDY, SAMPLED, [16], seed=4)


def test_one_horizon_does_not_change_another():
    alone = build_controls(GREEDY, SAMPLED, [16])
    together = build_controls(GREEDY, SAMPLED, [8, 16, 32])
    assert [control for control in together if control.length == 16] == list(alone)


def test_short_answers_are_not_scrambled():
    kinds = Counter(control.kind for control in build_controls([[1, 2], GREEDY[0]], [[3], SAMPLED[0]], [8]))
    assert kinds["greedy"] == 2
    assert kinds["shuffled"] == 1


def test_an_answer_is_not_swapped_or_spliced_with_its_double():
    doubles = [GREEDY[0], GREEDY[0], GREEDY[0], GREEDY[1]]
    controls = build_controls(doubles, doubles, [16])
    swapped = {control.prompt: control.token_ids for control in controls if control.kind == "swapped"}
    assert swapped[0] == swapped[1] == swapped[2] == tuple(GREEDY[1][:16])
    assert swapped[3] == tuple(GREEDY[0][:16])


@pytest.mark.parametrize(("greedy", "sampled"), [([[1]], [[1]]), ([[1], [2]], [[1]])])
def test_lists_that_do_not_fit_are_refused(greedy, sampled):
    with pytest.raises(ValueError, match=r"prompts|answers"):
        build_controls(greedy, sampled, [8])


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=40), min_size=2, max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=3, unique=True),
)
def test_any_answers_give_texts_within_the_horizon(answers, lengths):
    for control in build_controls(answers, answers, lengths):
        assert len(control.token_ids) <= control.length
        if control.kind in COLLAPSED_KINDS:
            assert len(control.token_ids) == min(len(answers[control.prompt]), control.length)
        assert control.collapsed == (control.kind in COLLAPSED_KINDS)
        assert control.kind not in REPEATING_KINDS or control.collapsed
