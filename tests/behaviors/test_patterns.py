"""Regular expressions of files: refused when they are read where that shows, stopped where it does not."""

import pytest
from pydantic import TypeAdapter, ValidationError

from controlwindow.behaviors import patterns
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.behaviors.patterns import Pattern, find_pattern
from controlwindow.errors import BehaviorError

#: Cubic on a row of a's: no trial of a hundred characters shows it, some thousands do.
SLOW = r"(a+)+$"
LONG = "a" * 20_000 + "!"


def refused(pattern: str) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Pattern).validate_python(pattern)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize("pattern", ["(a|a)*$", r"(a|aa)+$", "(Ä|Ä)*$", "(?R)"])
def test_a_pattern_that_is_exponential_on_its_own_characters_is_refused_when_it_is_read(pattern):
    assert "takes more than 0.5 s on a text of 101 characters" in refused(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("x" * 10_001, "may have 10000 characters, not more"),
        ("a{1001}", "may repeat something 1000 times, not 1001"),
        ("a{2,100000}", "not 100000"),
        ("(" * 5_000 + ")" * 5_000, "bad regular expression"),
        ("a(b", "position 1: missing ), unterminated subpattern"),
        (r"\p{Nothing}", "bad regular expression at position"),
        ("", "at least 1 character"),
    ],
)
def test_patterns_that_cannot_be_used(pattern, message):
    assert message in refused(pattern)


@pytest.mark.parametrize("pattern", ['["“]', r"\bno+\b", ".*a.*b.*c", r"(?:\w+ ?)+refuse", r"(?i)sorry|désolé", SLOW])
def test_patterns_that_may_be_used(pattern):
    assert TypeAdapter(Pattern).validate_python(pattern) == pattern


def test_a_search_that_runs_over_names_file_oracle_and_pattern(tmp_path, monkeypatch):
    monkeypatch.setattr(patterns, "SEARCH_SECONDS", 0.05)
    table = {
        "name": "slow",
        "horizons": [8],
        "outcomes": "refusal",
        "prompts": {"evaluate": [f"Ask {number}." for number in range(16)]},
    }
    by_oracle = {
        "refused": {"type": "refusal", "patterns": [SLOW], "opening": 30_000},
        "on_task": {"type": "regex", "pattern": SLOW},
    }
    for name, oracle in by_oracle.items():
        oracles = {"refused": {"type": "regex", "pattern": "no"}} | {name: oracle}
        behavior = assemble(BehaviorDefinition.model_validate(table | {"oracles": oracles}), tmp_path / "slow.toml")
        with pytest.raises(BehaviorError) as caught:
            behavior.judge(LONG, behavior.prompts("evaluate")[0], collapsed=False)
        assert str(tmp_path / "slow.toml") in str(caught.value)
        assert f"oracle '{name}' ({oracle['type']})" in str(caught.value)
        assert repr(SLOW) in str(caught.value)
        assert caught.value.hint


def test_patterns_and_texts_are_compared_in_one_form():
    assert find_pattern("cafe\u0301", "café")
    assert find_pattern("[é]", "é")
    assert find_pattern("É", "é", ignore_case=True)
    assert not find_pattern("É", "é")
