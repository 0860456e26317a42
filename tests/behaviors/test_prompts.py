import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.behaviors.prompts import (
    Prompt,
    PromptLine,
    check_disjoint,
    fingerprint_json,
    fingerprint_prompts,
    normalized,
    number_prompts,
    read_prompt_lines,
)
from controlwindow.errors import BehaviorError
from controlwindow.models.chat import conversation, turns_of


def prompt(text, split="find", role="positive", identity="x"):
    return Prompt(identity, text, split, role)


def test_a_prompt_file_keeps_every_field(tmp_path):
    row = {
        "text": "Ouvrez le coffre.",
        "split": "evaluate",
        "role": "negative",
        "language": "fr",
        "steps": ["Un.", "Deux."],
        "about": ["coffre"],
    }
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"text": "b", "split": "find"}), encoding="utf-8")
    first, second = read_prompt_lines(path)
    assert first == PromptLine(**row)
    assert (second.role, second.language, second.steps, second.about) == ("positive", None, (), ())


def test_earlier_turns_become_part_of_the_prompt(tmp_path):
    row = {"text": "Sure?", "split": "find", "history": [["Where?", "Here."]], "source": ["here"], "target": ["there"]}
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    (found,) = number_prompts(read_prompt_lines(path))
    assert turns_of(found.text) == ("Where?", "Here.", "Sure?")
    assert (found.source, found.target) == (("here",), ("there",))
    other = replace(found, id="q", split="select", text=conversation("Where?", "There.", "Sure?"))
    check_disjoint([found, other])
    with pytest.raises(BehaviorError, match="two splits"):
        check_disjoint([found, replace(other, text=found.text)])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{text: 1}", "line 2: not JSON"),
        ('["a"]', "line 2: a list where a JSON object is needed"),
        ('{"text": "a"}', "line 2, key 'split': field required"),
        ('{"text": "a", "split": "test"}', "line 2, key 'split'"),
        ('{"text": " ", "split": "find"}', "line 2, key 'text'"),
        ('{"text": "a", "split": "find", "lang": "en"}', "line 2, key 'lang'"),
        ('{"text": "a", "split": "find", "steps": [1]}', "line 2, key 'steps.0'"),
        ('{"text": "a", "split": "find", "history": [["b"]]}', "line 2, key 'history.0"),
        ('{"text": "a", "split": "find", "history": [["b", " "]]}', "line 2, key 'history.0.1'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, expected):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "good", "split": "find"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(BehaviorError) as caught:
        read_prompt_lines(path)
    assert str(caught.value).startswith(f"{path}, ")
    assert expected in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"text": "caf\xe9", "split": "find"}')
    with pytest.raises(BehaviorError, match="not UTF-8"):
        read_prompt_lines(path)


def test_ids_count_within_split_and_role():
    lines = [
        PromptLine(text=str(number), split=split, role=role)
        for number, (split, role) in enumerate(
            [("find", "positive"), ("find", "negative"), ("find", "positive"), ("evaluate", "positive")]
        )
    ]
    assert [found.id for found in number_prompts(lines)] == [
        "find.p000",
        "find.n000",
        "find.p001",
        "evaluate.p000",
    ]


def test_a_prompt_in_two_splits_is_refused_with_both_names():
    with pytest.raises(BehaviorError, match=r"'open  THE vault'.*'find' and 'evaluate'"):
        check_disjoint([prompt("Open the vault "), prompt("open  THE vault", "evaluate")])


def test_a_prompt_twice_in_a_split_is_refused():
    with pytest.raises(BehaviorError, match="twice in split 'find'"):
        check_disjoint([prompt("a"), prompt("a", role="negative")])


@given(st.text(min_size=1), st.sampled_from([" ", "\t", "\n", "  "]))
def test_normalizing_ignores_outer_and_repeated_whitespace_and_is_idempotent(text, space):
    once = normalized(text)
    assert normalized(once) == once
    assert normalized(space + text + space) == once
    assert normalized(text.replace(" ", space)) == once


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique_by=normalized), st.data())
def test_distinct_prompts_pass_and_any_copy_is_caught(texts, data):
    prompts = [prompt(text, split) for text, split in zip(texts, ["find", "select", "evaluate"] * 3, strict=False)]
    check_disjoint(prompts)
    copied = data.draw(st.sampled_from(prompts))
    with pytest.raises(BehaviorError):
        check_disjoint([*prompts, prompt(f"  {copied.text}\n", "evaluate")])


def test_the_fingerprint_depends_on_every_field():
    base = Prompt("p", "text", "find", "positive", "en", ("one",), ("two",))
    changed = [
        Prompt("q", "text", "find", "positive", "en", ("one",), ("two",)),
        Prompt("p", "Text", "find", "positive", "en", ("one",), ("two",)),
        Prompt("p", "text", "find", "positive", "fr", ("one",), ("two",)),
        Prompt("p", "text", "find", "positive", "en", ("one", "more"), ("two",)),
        Prompt("p", "text", "find", "positive", "en", ("one",), ()),
        replace(base, source=("three",)),
        replace(base, target=("three",)),
    ]
    assert len({fingerprint_prompts([one]) for one in [base, *changed]}) == 8
    assert fingerprint_prompts([base, changed[0]]) != fingerprint_prompts([changed[0], base])


def test_fields_that_are_not_given_leave_fingerprints_as_they_were():
    plain = Prompt("p", "text", "find", "positive", "en", ("one",), ("two",))
    written = {"id": "p", "text": "text", "language": "en", "steps": ["one"], "about": ["two"]}
    assert fingerprint_prompts([plain]) == fingerprint_json([written])
