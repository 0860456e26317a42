"""What a behavior file may not say: values of another kind, prompts that only look different, states that are one."""

import json

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.languages import SCRIPTS, is_known_language, known_languages
from controlwindow.errors import BehaviorError

FILE = """\
name = "strict"
sensitive = true
languages = ["en", "fr"]
horizons = [8, 16]
threshold = 0.5
minimum_eligible = 16

[oracles.target]
type = "contains"
any = ["x"]
whole_words = true

[oracles.source]
type = "refusal"
opening = 100

[prompts]
file = "prompts.jsonl"

[log_odds]
kind = "answers"
answer_tokens = 8
"""


def write(folder, toml: str = FILE, *rows: dict[str, object]):
    written = [{"text": f"ask {number}", "split": "evaluate"} for number in range(16)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, [*written, *rows])), "utf-8")
    path = folder / "strict.toml"
    path.write_text(toml, "utf-8")
    return path


def failure(*arguments) -> str:
    with pytest.raises(BehaviorError) as caught:
        load_behavior(write(*arguments))
    assert caught.value.hint
    return str(caught.value)


def test_the_file_itself_is_good(tmp_path):
    assert load_behavior(write(tmp_path)).sensitive


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("sensitive = true", 'sensitive = "off"', "sensitive", "valid boolean"),
        ("sensitive = true", "sensitive = 0", "sensitive", "valid boolean"),
        ("[8, 16]", "[true]", "horizons.0", "valid integer"),
        ("[8, 16]", '["8"]', "horizons.0", "valid integer"),
        ("[8, 16]", "[8.0]", "horizons.0", "valid integer"),
        ("threshold = 0.5", 'threshold = "0.5"', "threshold", "valid number"),
        ("minimum_eligible = 16", "minimum_eligible = true", "minimum_eligible", "valid integer"),
        ("whole_words = true", 'whole_words = "no"', "oracles.target.whole_words", "valid boolean"),
        ("opening = 100", "opening = true", "oracles.source.opening", "valid integer"),
        ("answer_tokens = 8", 'answer_tokens = "8"', "log_odds.answer_tokens", "valid integer"),
        ('any = ["x"]', 'any = ["\\u200b"]', "oracles.target.any.0", "needs something to be seen"),
        ('["en", "fr"]', '["en", "klingon"]', "languages", "unknown language 'klingon'"),
        ('["en", "fr"]', '["en", "en"]', "languages", "each language stands once"),
        ('type = "refusal"', 'type = ["refusal"]', "oracles.source", "unknown oracle '['refusal']'"),
    ],
)
def test_values_of_another_kind_are_refused_by_key(tmp_path, old, new, key, message):
    text = failure(tmp_path, FILE.replace(old, new))
    assert f"key '{key}': " in text
    assert message in text


def test_an_oracle_that_is_no_table(tmp_path):
    toml = FILE.replace('[oracles.source]\ntype = "refusal"\nopening = 100', '[oracles]\nsource = "refusal"')
    assert "an oracle is a table with a 'type'" in failure(tmp_path, toml)


def test_languages_are_checked_whatever_the_oracles(tmp_path):
    toml = FILE.replace('["en", "fr"]', '["tlh"]').replace(
        'type = "refusal"\nopening = 100', 'type = "regex"\npattern = "a"'
    )
    assert "unknown language 'tlh'" in failure(tmp_path, toml)
    assert "line 17, key 'language': unknown language 'klingon'" in failure(
        tmp_path, FILE, {"text": "a", "split": "find", "language": "klingon"}
    )


def test_common_languages_are_told_without_loading_the_identifier():
    assert set(SCRIPTS) <= known_languages()
    assert is_known_language("sw")
    assert not is_known_language("klingon")


@pytest.mark.parametrize(
    "other", ["Ask\u200b 3", "ask 3\ufeff", "a\u00adsk 3", "\u2060ASK  3 ", "as\u200dk 3", "ask\u00a03"]
)
def test_prompts_that_look_the_same_are_the_same(tmp_path, other):
    assert "stands in two splits, 'evaluate' and 'find'" in failure(tmp_path, FILE, {"text": other, "split": "find"})
    assert "stands twice in split 'evaluate'" in failure(tmp_path, FILE, {"text": other, "split": "evaluate"})


def test_composed_and_decomposed_prompts_are_the_same(tmp_path):
    rows = [{"text": "le cafe\u0301", "split": "find"}, {"text": "le café", "split": "select"}]
    assert "stands in two splits" in failure(tmp_path, FILE, *rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "\u200b\u2060"}, "line 17, key 'text': nothing of it is to be seen"),
        ({"text": "half \ud800"}, "line 17, key 'text': input should be a valid string"),
        ({"text": "a\x1eb"}, "line 17, key 'text': it holds the control character U+001E"),
        (
            {"text": "a", "source": ["in the wood"], "target": ["In the  wood"]},
            "'in the wood' is both source and target",
        ),
    ],
)
def test_prompts_that_cannot_be_judged(tmp_path, row, message):
    assert message in failure(tmp_path, FILE, {"split": "find", **row})


def test_source_and_target_may_not_be_one(tmp_path):
    one = '[oracles.{name}]\ntype = "claim"\nclaim = "source"\n'
    start, end = FILE.index("[oracles.target]"), FILE.index("[prompts]")
    toml = FILE[:start] + one.format(name="target") + one.format(name="source") + FILE[end:]
    assert "line 11, key 'oracles.source': source and target are the same oracle" in failure(tmp_path, toml)


def test_thousands_of_unknown_keys_are_told_at_once(tmp_path):
    toml = FILE.replace(
        "[oracles.target]", "".join(f"key{number} = 1\n" for number in range(4000)) + "[oracles.target]", 1
    )
    lines = failure(tmp_path, toml).split("\n")
    assert lines[0] == f"{tmp_path / 'strict.toml'}, line 8, key 'key0': unknown key"
    assert lines[19].endswith("line 27, key 'key19': unknown key")
    assert lines[20] == f"{tmp_path / 'strict.toml'}: and 3980 more"
    assert len(lines) == 21


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "9" * 5000])
def test_values_that_no_reader_takes(tmp_path, value):
    assert "not valid TOML" in failure(tmp_path, f"deep = {value}\n" + FILE)


@pytest.mark.parametrize(
    "prompts", ['evaluate = [" "]', "evaluate = 3", "find = {positive = [3]}", "find = {other = []}"]
)
def test_prompts_of_another_kind_are_errors_of_the_file(tmp_path, prompts):
    text = failure(tmp_path, FILE.replace('file = "prompts.jsonl"', prompts))
    assert str(tmp_path / "strict.toml") in text
