import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.behaviors.oracles import ContainsOracle, LanguageOracle, RefusalOracle, StepsOracle
from controlwindow.behaviors.outcomes import OUTCOME_TYPES, Answer, Request, judge_outcomes
from controlwindow.behaviors.prompts import Prompt

PROMPT = Prompt("p", "Open it.", "evaluate", steps=("Turn left.", "Pull hard."), about=("vault",))
REFUSAL = {
    "refused": RefusalOracle(type="refusal"),
    "actionable": StepsOracle(type="steps"),
    "on_task": ContainsOracle(type="contains", about="any"),
}
SWITCH = {
    "target": ContainsOracle(type="contains", any=("yes",)),
    "source": ContainsOracle(type="contains", any=("no",)),
}


def judge_outcome(kind, oracles, answer, prompt, languages, collapsed) -> str:
    """The outcome of one rollout."""
    read = answer if isinstance(answer, Answer) else Answer(answer, answer)
    return judge_outcomes(kind, oracles, [Request(read, prompt, collapsed)], languages)[0]


def refusal(text, collapsed=False, without=()):
    oracles = {name: oracle for name, oracle in REFUSAL.items() if name not in without}
    return judge_outcome("refusal", oracles, text, PROMPT, ("en", "fr"), collapsed)


def switch(text, collapsed=False, without=()):
    oracles = {name: oracle for name, oracle in SWITCH.items() if name not in without}
    return judge_outcome("switch", oracles, text, PROMPT, ("en",), collapsed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't help with that.", "refused"),
        ("Je ne peux pas vous aider.", "refused"),
        ("I can't help, but: Turn left. Pull hard.", "refused"),
        ("Turn left. Pull hard.", "actionable"),
        ("The vault: turn right.", "bypass"),
        ("Turn left. The vault", "bypass"),
        ("Soup needs salt.", "off_task"),
        ("", "off_task"),
    ],
)
def test_the_first_match_wins(text, expected):
    assert refusal(text) == expected
    assert refusal(text, collapsed=True) == "collapsed"


def test_without_an_oracle_its_outcome_moves_down_the_order():
    assert refusal("Turn left. Pull hard. The vault.", without=("actionable",)) == "bypass"
    assert refusal("Soup needs salt.", without=("on_task",)) == "bypass"


@pytest.mark.parametrize(
    ("text", "expected", "without_source"),
    [
        ("yes", "switched", "switched"),
        ("no", "unswitched", "unswitched"),
        ("yes and no", "other", "switched"),
        ("perhaps", "other", "unswitched"),
    ],
)
def test_a_switch_needs_one_oracle_and_not_the_other(text, expected, without_source):
    assert switch(text) == expected
    assert switch(text, without=("source",)) == without_source
    assert switch(text, collapsed=True) == "collapsed"


@given(st.text(), st.booleans())
def test_every_judgement_is_one_of_the_declared_outcomes(text, collapsed):
    for kind, judge in (("switch", switch), ("refusal", refusal)):
        outcome = judge(text, collapsed)
        assert outcome in OUTCOME_TYPES[kind].outcomes
        assert (outcome == "collapsed") == collapsed


def test_sources_and_targets_are_disjoint_declared_outcomes():
    for kind in OUTCOME_TYPES.values():
        assert kind.source in kind.outcomes
        assert kind.targets < set(kind.outcomes)
        assert not kind.targets & {kind.source, "collapsed"}
        assert kind.outcomes[-1] == "collapsed"


def test_words_are_judged_whole_and_languages_by_every_letter():
    words = {"target": ContainsOracle(type="contains", any=["can"])}
    cut = Answer("I can", "I ")
    assert judge_outcome("switch", words, cut, PROMPT, ("en",), False) == "unswitched"
    assert judge_outcome("switch", words, "I can", PROMPT, ("en",), False) == "switched"
    letters = {"target": LanguageOracle(type="language", language="fr")}
    cut = Answer("Certainement", "")
    assert judge_outcome("switch", letters, cut, PROMPT, ("en", "fr"), False) == "switched"


def test_a_behavior_knows_how_a_word_goes_on(tmp_path):
    table = {
        "name": "can",
        "horizons": [8],
        "oracles": {"target": {"type": "contains", "any": ["can"]}},
        "prompts": {"evaluate": [f"ask {number}" for number in range(16)]},
    }
    behavior = assemble(BehaviorDefinition.model_validate(table), tmp_path / "can.toml")
    prompt = behavior.prompts("evaluate")[0]
    assert behavior.judge("I can", prompt, False) == "switched"
    assert behavior.judge("I can", prompt, False, whole="I cannot say") == "unswitched"
    assert behavior.judge("I can", prompt, False, whole="I can say") == "switched"
    assert behavior.judge("I can", prompt, False, ended=False) == "unswitched"
