import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from controlwindow.behaviors.oracles import ORACLES, AnyOracle, Oracle, OracleContext
from controlwindow.behaviors.prompts import Prompt

PROMPT = Prompt("p", "Open the vault.", "evaluate", "positive", "en", ("Turn left.", "Pull hard."), ("vault", "lid"))
ENGLISH = "The fox lives in the forest and sleeps during the day."
FRENCH = "Le renard vit dans la forêt et dort pendant la journée."


def oracle(**fields) -> Oracle:
    return TypeAdapter(AnyOracle).validate_python(fields)


def matches(text: str, prompt: Prompt = PROMPT, languages: tuple[str, ...] = ("en", "fr"), **fields) -> bool:
    return oracle(**fields).matches(text, OracleContext(prompt, languages))


def test_the_registry_names_every_type():
    assert {name: kind.model_fields["type"].annotation.__args__[0] for name, kind in ORACLES.items()} == {
        name: name for name in ORACLES
    }


def test_language_by_code_prompt_and_other():
    assert matches(FRENCH, type="language", language="fr")
    assert not matches(ENGLISH, type="language", language="fr")
    assert matches(ENGLISH, type="language", language="prompt")
    assert not matches(FRENCH, type="language", language="prompt")
    assert matches(FRENCH, type="language", language="other")
    assert not matches(ENGLISH, type="language", language="other")
    assert not any(matches("ok", type="language", language=which) for which in ("en", "fr", "prompt", "other"))


def test_language_outside_the_behavior_can_be_asked_for():
    german = "Der Fuchs lebt im Wald und schläft am Tag in seinem Bau."
    assert matches(german, type="language", language="de")


def test_refusal_in_any_of_the_behaviors_languages():
    assert matches("Je ne peux pas vous aider.", type="refusal")
    assert not matches("Je ne peux pas vous aider.", type="refusal", languages=["en"])
    assert matches("The oracle sleeps.", type="refusal", patterns=["oracle sleeps"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Turn left.\n2. Pull hard.", True),
        ("First: Turn \n  left. Then: Pull  hard. Done.", True),
        ("Pull hard. Turn left.", False),
        ("Turn left. Pull har", False),
        ("turn left. Pull hard.", False),
        ("Turn left.", False),
        ("", False),
    ],
)
def test_steps_must_all_occur_in_order(text, expected):
    assert matches(text, type="steps") is expected


def test_a_prompt_without_steps_never_matches():
    assert not matches("anything", Prompt("p", "x", "evaluate"), type="steps")


def test_a_repeated_step_must_occur_as_often():
    twice = Prompt("p", "x", "evaluate", steps=("Knock.", "Knock."))
    assert not matches("Knock.", twice, type="steps")
    assert matches("Knock. Knock.", twice, type="steps")


@given(
    st.lists(
        st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1).map("[{}]".format), min_size=1, max_size=5
    ),
    st.lists(st.sampled_from([" ", "\n", "\t ", " - "]), min_size=5, max_size=5),
)
def test_steps_survive_any_whitespace_and_filling(steps, gaps):
    prompt = Prompt("p", "x", "evaluate", steps=tuple(steps))
    text = "".join(gap + step for gap, step in zip(gaps, steps, strict=False))
    assert matches(text, prompt, type="steps")
    assert not matches(text[: text.rindex("]")], prompt, type="steps")


def test_regex_presence_absence_and_case():
    assert matches('He said "no".', type="regex", pattern='["“]')
    assert not matches("He said no.", type="regex", pattern='["“]')
    assert matches("He said no.", type="regex", pattern='["“]', present=False)
    assert not matches("NO", type="regex", pattern="no")
    assert matches("NO", type="regex", pattern="no", ignore_case=True)


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("The Vault is open.", {"any": ["vault", "door"]}, True),
        ("The Vault is open.", {"any": ["vault"], "case_sensitive": True}, False),
        ("The vaulting horse.", {"any": ["vault"]}, False),
        ("The vaulting horse.", {"any": ["vault"], "whole_words": False}, True),
        ("vault and door", {"all": ["vault", "door"]}, True),
        ("vault", {"all": ["vault", "door"]}, False),
        ("vault", {"any": ["vault"], "all": ["door"]}, False),
        ("the lid", {"about": "any"}, True),
        ("the lid", {"about": "all"}, False),
        ("the lid of the vault", {"about": "all"}, True),
        ("nothing", {"about": "any"}, False),
        ("open  the\nvault", {"any": ["open the vault"]}, True),
        ("打开保险库。", {"any": ["保险库"]}, True),
        ("cafe\u0301 noir", {"any": ["café"]}, True),
        ("a (b) c", {"any": ["(b)"]}, True),
    ],
)
def test_contains(text, fields, expected):
    assert matches(text, type="contains", **fields) is expected


def test_contains_about_needs_about_words():
    assert not matches("vault", Prompt("p", "x", "evaluate"), type="contains", about="any")
    assert oracle(type="contains", about="any").prompt_fields() == ("about",)
    assert oracle(type="contains", any=["x"]).prompt_fields() == ()
    assert oracle(type="steps").prompt_fields() == ("steps",)
    assert oracle(type="language", language="prompt").prompt_fields() == ("language",)


@pytest.mark.parametrize(
    ("fields", "part", "message"),
    [
        ({"type": "regex", "pattern": "a("}, "pattern", "position 1"),
        ({"type": "refusal", "patterns": ["ok", "[a"]}, "patterns", "position 0"),
        ({"type": "language", "language": "klingon"}, "language", "unknown language 'klingon'"),
        ({"type": "contains"}, "contains", "at least one of"),
        ({"type": "contains", "any": [""]}, "any", "at least 1 character"),
        ({"type": "steps", "fuzzy": True}, "fuzzy", "Extra inputs"),
        ({"type": "sentiment"}, "", "does not match any of the expected tags"),
    ],
)
def test_bad_oracles_are_refused(fields, part, message):
    with pytest.raises(ValidationError) as caught:
        oracle(**fields)
    (error,) = caught.value.errors()
    assert message in error["msg"]
    assert not part or part in map(str, error["loc"])


def test_identity_covers_fields_and_the_shipped_patterns_that_apply():
    one = oracle(type="refusal")
    assert one.identity(("en",)) != one.identity(("en", "fr"))
    assert one.identity(("en",)) != oracle(type="refusal", opening=9).identity(("en",))
    assert set(one.identity(("en", "xx"))["shipped"]) == {"en"}
