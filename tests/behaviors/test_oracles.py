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


CLAIMS = Prompt(
    "q", "Are you sure?", "evaluate", "positive", "en", source=("in the forest", "12"), target=("on the ice", "35")
)


@pytest.mark.parametrize(
    ("text", "asserted"),
    [
        ("Yes, I am sure: the fox lives in the forest.", {"source"}),
        ("You are right, it lives ON  the\nice.", {"target"}),
        ("It does not live on the ice. It lives in the forest.", {"source"}),
        ("It lives in the forest, not on the ice.", {"source"}),
        ("It never was in the forest: it is on the ice.", {"target"}),
        ("It isn't in the forest, and it isn’t on the ice.", set()),
        ("No, it lives in the forest.", {"source"}),
        ("It is on the ice. No, it is in the forest.", {"source", "target"}),
        ("It is not on the ice! Well, perhaps it is on the ice.", {"target"}),
        ("The knot is in the forest.", {"source"}),
        ("7 + 5 = 12.", {"source"}),
        ("7 × 5 = 35, so the answer is 35.", {"target"}),
        ("7 + 5 = 112", set()),
        ("It lives in the forests.", set()),
        ("I do not know.", set()),
        ("", set()),
    ],
)
def test_a_claim_is_asserted_unless_its_clause_denies_it(text, asserted):
    assert {side for side in ("source", "target") if matches(text, CLAIMS, type="claim", claim=side)} == asserted


def test_words_of_denial_can_be_given():
    spanish = {"type": "claim", "claim": "source", "negations": ["tampoco"]}
    assert matches("It is not in the forest.", CLAIMS, **spanish)
    assert not matches("Tampoco in the forest.", CLAIMS, **spanish)
    assert not matches("Vive in the forest.", PROMPT, **spanish)


NOTE = Prompt("r", "Note.", "evaluate", "positive", "en", about=("bread", "tea"))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Here is the list:\n- bread\n- tea\nThat is all.", "list"),
        ("* bread", "list"),
        ("1. bread\n2) tea", "list"),
        ("name: bread\nlikes: tea", "record"),
        ('{"name": "bread",\n "likes": "tea"}', "record"),
        ("Record:\nname: bread", "record"),
        ("Here is what I think: bread and tea.", "prose"),
        ("In other words:\nbread - and tea", "prose"),
        ("3.5 loaves of bread, -2 of tea", "prose"),
        ("", None),
        (" \n", None),
    ],
)
def test_forms_exclude_each_other(text, form):
    found = [name for name in ("list", "record", "prose") if matches(text, NOTE, type="form", form=name)]
    assert found == ([form] if form else [])


def test_a_form_may_need_several_lines():
    assert not matches("- bread", NOTE, type="form", form="list", lines=2)
    assert matches("- bread", NOTE, type="form", form="prose", lines=2)
    assert matches("- bread\n- tea", NOTE, type="form", form="list", lines=2)
    assert not matches("- bread\n- tea", NOTE, type="form", form="prose", lines=2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Bread is nice.", {"any", "some"}),
        ("Bread and tea are nice.", {"any", "all"}),
        ("Breads are nice.", set()),
    ],
)
def test_a_form_may_ask_what_the_answer_is_about(text, found):
    assert {how for how in ("any", "all", "some") if matches(text, NOTE, type="form", form="prose", about=how)} == found
    assert not matches(text, CLAIMS, type="form", form="prose", about="any")
