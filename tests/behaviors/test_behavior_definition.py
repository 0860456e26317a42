import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.definition import Behavior, BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.behaviors.swapping import swap_characters
from controlwindow.errors import BehaviorError

TABLE = {
    "name": "mode",
    "horizons": [8, 16],
    "oracles": {"target": {"type": "regex", "pattern": "x"}},
    "prompts": {
        "find": {
            "positive": [f"find this {number}" for number in range(8)],
            "negative": [f"find that {number}" for number in range(9)],
        },
        "select": ["select 0"],
        "evaluate": [f"evaluate {number}" for number in range(16)],
    },
}


def behavior(tmp_path, **changes) -> Behavior:
    return assemble(BehaviorDefinition.model_validate(TABLE | changes), tmp_path / "mode.toml")


def test_the_interface_of_a_switch(tmp_path):
    mode = behavior(tmp_path)
    assert (mode.name, mode.sensitive, mode.languages, mode.horizons) == ("mode", False, ("en",), (8, 16))
    assert (mode.threshold, mode.positions, mode.minimum_eligible) == (0.5, "all", 16)
    assert mode.outcomes == ("unswitched", "switched", "other", "collapsed")
    assert (mode.source_outcome, mode.target_outcomes) == ("unswitched", frozenset({"switched"}))
    assert [prompt.id for prompt in mode.prompts("evaluate")] == [f"evaluate.p{number:03d}" for number in range(16)]
    assert {prompt.role for prompt in mode.prompts("find")} == {"positive"}
    assert {prompt.language for prompt in mode.all_prompts} == {"en"}
    assert mode.judge("a x b", mode.prompts("evaluate")[0], collapsed=False) == "switched"
    assert mode.judge("a b", mode.prompts("evaluate")[0], collapsed=False) == "unswitched"
    assert mode.judge("a x b", mode.prompts("evaluate")[0], collapsed=True) == "collapsed"


def test_the_contrast_comes_from_the_roles_or_from_the_file(tmp_path):
    by_role = behavior(tmp_path).contrast("find")
    assert (len(by_role.positive), len(by_role.negative)) == (8, 9)
    given = {"positive": [f"plus {number}" for number in range(8)], "negative": [f"minus {n}" for n in range(8)]}
    inline = behavior(tmp_path, contrast=given).contrast("find")
    assert [prompt.text for prompt in inline.positive] == given["positive"]
    assert {prompt.split for prompt in inline.negative} == {"find"}
    ids = {prompt.id for prompt in (*by_role.positive, *by_role.negative, *inline.positive, *inline.negative)}
    assert len(ids) == 8 + 9 + 8 + 8


def test_a_contrast_that_is_too_small_says_how_small(tmp_path):
    with pytest.raises(BehaviorError, match=r"has 1 positive prompts in split 'select', 8 are needed"):
        behavior(tmp_path).contrast("select")
    # [contrast] is read for the find split alone, so it is no way out here.
    with pytest.raises(BehaviorError) as refused:
        behavior(tmp_path).contrast("select")
    assert "[prompts.select] positive" in refused.value.hint
    assert "[contrast]" not in refused.value.hint


def test_too_few_eligible_prompts_stop_with_the_count(tmp_path):
    mode = behavior(tmp_path)
    mode.require_eligible(16, 16)
    with pytest.raises(BehaviorError, match=r"3 of 16 evaluation prompts are 'unswitched'.* 16 are needed"):
        mode.require_eligible(3, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"horizons": [8, 17]},
        {"threshold": 0.4},
        {"positions": "generated"},
        {"oracles": {"target": {"type": "regex", "pattern": "y"}}},
        {"minimum_eligible": 12},
        {"languages": ["en", "fr"]},
        {"prompts": TABLE["prompts"] | {"evaluate": [f"evaluated {number}" for number in range(16)]}},
        {"prompts": TABLE["prompts"] | {"select": ["select 1"]}},
        {"contrast": {"positive": [f"p{n}" for n in range(8)], "negative": [f"n{n}" for n in range(8)]}},
        {"log_odds": {"target": ["a"], "control": ["b"]}},
    ],
)
def test_the_fingerprint_moves_with_all_that_results_depend_on(tmp_path, changes):
    assert behavior(tmp_path, **changes).fingerprint != behavior(tmp_path).fingerprint


def test_the_fingerprint_does_not_move_with_words_for_readers(tmp_path):
    same = behavior(tmp_path, description="Another text.", sensitive=True)
    assert same.fingerprint == behavior(tmp_path).fingerprint
    assert len(same.fingerprint) == 64


def test_splits_are_hashed_apart(tmp_path):
    before = behavior(tmp_path).split_fingerprints
    after = behavior(tmp_path, prompts=TABLE["prompts"] | {"select": ["select 1"]}).split_fingerprints
    assert set(before) == {"find", "select", "evaluate"}
    assert {split for split in before if before[split] != after[split]} == {"select"}


def test_nothing_can_be_changed_afterwards(tmp_path):
    mode = behavior(tmp_path)
    with pytest.raises(AttributeError):
        mode.definition = None
    with pytest.raises(ValueError, match="frozen"):
        mode.definition.threshold = 0.1


def test_perturbation_pairs_of_every_kind(tmp_path):
    assert behavior(tmp_path).perturbation_pairs() == ()
    pairs = behavior(tmp_path, perturbation={"pairs": [["a b", "a c"]]})
    assert pairs.perturbation_pairs() == (("a b", "a c"),)
    swapped = behavior(tmp_path, perturbation={"kind": "swap_characters"}).perturbation_pairs()
    assert swapped[0] == ("find this 0", "fnid this 0")
    assert len(swapped) == 8
    crossed = behavior(tmp_path, perturbation={"kind": "contrast"}).perturbation_pairs()
    assert crossed[7] == ("find this 7", "find that 7")


@given(st.text(min_size=1))
def test_swapping_keeps_the_letters_and_changes_at_most_two(text):
    swapped = swap_characters(text)
    assert sorted(swapped) == sorted(text)
    assert sum(one != other for one, other in zip(text, swapped, strict=True)) in {0, 2}


def test_pairs_of_splits_may_not_share_prompts(tmp_path):
    good = {"pairs": [["a b", "a c"]], "select": [["d e", "d f"]], "evaluate": [["g h", "g i"]]}
    found = behavior(tmp_path, perturbation=good)
    assert found.perturbation_pairs("evaluate") == (("g h", "g i"),)
    assert found.fingerprint != behavior(tmp_path, perturbation={"pairs": [["a b", "a c"]]}).fingerprint
    with pytest.raises(BehaviorError, match=r"'a c' stands in \[perturbation\] for 'evaluate' and in split 'find'"):
        behavior(tmp_path, perturbation={**good, "evaluate": [["g h", "a c"]]})
    with pytest.raises(ValueError, match="pairs of the kind 'pairs' only"):
        behavior(tmp_path, perturbation={"kind": "swap_characters", "select": [["a b", "a c"]]})
