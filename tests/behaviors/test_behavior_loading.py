import json
from pathlib import Path

import pytest

from controlwindow.behaviors.loading import key_lines, known_behaviors, load_behavior
from controlwindow.behaviors.oracles import known_oracles
from controlwindow.errors import BehaviorError

VALID = """\
name = "mode"
languages = ["en", "fr"]
horizons = [8, 16]

[oracles.target]
type = "regex"
pattern = "x"

[oracles.source]
type = "regex"
pattern = "y"

[prompts]
file = "prompts.jsonl"
"""
LINE_OF = {line: number for number, line in enumerate(VALID.splitlines(), start=1)}


def write(folder: Path, toml: str = VALID, **counts: int) -> Path:
    sizes = {"find": 8, "select": 4, "evaluate": 16} | counts
    rows = [{"text": f"{split} {number}", "split": split} for split, size in sizes.items() for number in range(size)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    path = folder / "mode.toml"
    path.write_text(toml, encoding="utf-8")
    return path


def failure(behavior, **options) -> BehaviorError:
    with pytest.raises(BehaviorError) as caught:
        load_behavior(behavior, **options)
    assert caught.value.hint
    return caught.value


def test_a_file_loads_and_a_behavior_passes_through(tmp_path):
    loaded = load_behavior(write(tmp_path))
    assert load_behavior(str(tmp_path / "mode.toml")).fingerprint == loaded.fingerprint
    assert load_behavior(loaded) is loaded
    assert len(loaded.prompts("evaluate")) == 16


def test_an_unknown_name_lists_the_known_ones():
    error = failure("refusals")
    assert "unknown behavior 'refusals'" in str(error)
    assert set(known_behaviors()) >= {"language", "refusal"}
    assert all(name in error.hint for name in known_behaviors())
    assert "or a path to a TOML file" in error.hint


def test_an_absent_file_is_named(tmp_path):
    assert f"no behavior file {tmp_path / 'none.toml'}" in str(failure(tmp_path / "none.toml"))


def test_a_folder_is_not_a_behavior(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read" in str(failure(tmp_path / "folder.toml"))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("horizons = [8, 16]", "horizons = [8, 16", 5),
        ('pattern = "x"', "pattern = x", LINE_OF['pattern = "x"']),
        ("[prompts]", "[prompts", LINE_OF["[prompts]"]),
        ('name = "mode"', 'name = "mode"\nname = "other"', 2),
    ],
)
def test_malformed_toml_names_file_and_line(tmp_path, old, new, line):
    path = write(tmp_path, VALID.replace(old, new))
    assert str(failure(path)).startswith(f"{path}, line {line}: not valid TOML: ")


@pytest.mark.parametrize(
    ("old", "new", "key", "line", "message"),
    [
        ("[8, 16]", "[16, 8]", "horizons", 3, "ascend"),
        ("[8, 16]", '[8, "x"]', "horizons.1", 3, "valid integer"),
        ("[8, 16]", "[]", "horizons", 3, "at least 1"),
        ("[8, 16]", "[0, 4]", "horizons.0", 3, "greater than or equal to 1"),
        ("horizons = [8, 16]", "", "horizons", 1, "is missing"),
        ('name = "mode"', 'name = "a/b"', "name", 1, "match pattern"),
        ('name = "mode"', 'name = "mode"\nthreshold = 1.0', "threshold", 2, "less than 1"),
        ('name = "mode"', 'name = "mode"\npositions = "last"', "positions", 2, "'all' or 'generated'"),
        ('name = "mode"', 'name = "mode"\ncolour = 3', "colour", 2, "unknown key"),
        ('pattern = "x"', 'pattern = "a(b"', "oracles.target.pattern", 7, "bad regular expression at position 1"),
        ('type = "regex"', 'type = "sentiment"', "oracles.target", 5, "unknown oracle 'sentiment'"),
        ('type = "regex"', "", "oracles.target", 5, "needs a 'type'"),
        ("[oracles.source]", "[oracles.origin]", "oracles.origin", 9, "no 'origin'"),
        ("[oracles.target]", "[oracles.source2]", "oracles.target", 5, "need the oracle 'target'"),
        ('pattern = "y"', 'pattern = "y"\nfuzzy = 1', "oracles.source.fuzzy", 12, "unknown key"),
        ('["en", "fr"]', '"en"', "languages", 2, "valid tuple"),
    ],
)
def test_a_schema_error_names_key_and_line(tmp_path, old, new, key, line, message):
    path = write(tmp_path, VALID.replace(old, new, 1))
    text = str(failure(path))
    assert f"{path}, line {line}, key '{key}': " in text
    assert message in text


def test_an_unknown_oracle_lists_the_known_ones(tmp_path):
    error = failure(write(tmp_path, VALID.replace('"regex"', '"sentiment"', 1)))
    assert error.hint == f"known oracles: {', '.join(known_oracles())}"
    assert {"claim", "contains", "form", "language", "on_task", "refusal", "regex", "steps"} <= set(known_oracles())


def test_languages_that_oracles_do_not_know(tmp_path):
    unknown = VALID.replace('type = "regex"\npattern = "x"', 'type = "language"\nlanguage = "fr"')
    assert load_behavior(write(tmp_path, unknown)).languages == ("en", "fr")
    error = failure(write(tmp_path, unknown.replace('["en", "fr"]', '["en", "xx"]')))
    assert "line 2, key 'languages': unknown language 'xx'" in str(error)
    bare = VALID.replace('type = "regex"\npattern = "x"', 'type = "refusal"').replace('["en", "fr"]', '["it"]')
    assert "no refusal patterns are shipped for 'it'" in str(failure(write(tmp_path, bare)))
    load_behavior(write(tmp_path, bare.replace('"refusal"', '"refusal"\npatterns = ["non posso"]')))


@pytest.mark.parametrize(
    ("counts", "minimum", "message"),
    [
        ({"evaluate": 0}, 16, "split 'evaluate' has 0 positive prompts, 16 are needed"),
        ({"evaluate": 15}, 4, "split 'evaluate' has 15 positive prompts, 16 are needed"),
        ({"evaluate": 16}, 20, "split 'evaluate' has 16 positive prompts, 20 are needed"),
    ],
)
def test_too_few_evaluation_prompts(tmp_path, counts, minimum, message):
    path = write(tmp_path, f"minimum_eligible = {minimum}\n" + VALID, **counts)
    assert message in str(failure(path))
    assert str(path) in str(failure(path))


def test_a_contrast_is_asked_for_only_where_it_is_needed(tmp_path):
    path = write(tmp_path, find=3)
    load_behavior(path)
    assert "3 positive prompts in split 'find', 8 are needed" in str(failure(path, needs_contrast=True))
    toml = VALID + 'find = {positive = ["a"], negative = ["b"]}\n'
    assert "1 negative prompts in split 'find', 8 are needed" in str(failure(write(tmp_path, toml)))


def test_overlapping_splits_name_prompt_and_splits(tmp_path):
    path = write(tmp_path, VALID + 'select = ["a  NEW one", "Evaluate   3"]\n')
    text = str(failure(path))
    assert "'Evaluate   3' stands in two splits" in text or "'evaluate 3' stands in two splits" in text
    assert "'evaluate'" in text
    assert "'select'" in text


def test_an_inline_contrast_may_not_show_screens_what_is_reported(tmp_path):
    lists = {side: [f"{side} {number}" for number in range(8)] for side in ("positive", "negative")}
    toml = VALID + f"[contrast]\npositive = {lists['positive']}\nnegative = {lists['negative']}\n"
    assert len(load_behavior(write(tmp_path, toml), needs_contrast=True).contrast("find").negative) == 8
    shown = toml.replace("negative 5", "evaluate 5")
    assert "stands in two splits" in str(failure(write(tmp_path, shown)))


def test_prompts_from_text_files(tmp_path):
    path = write(tmp_path, VALID.replace('file = "prompts.jsonl"', 'evaluate = "evaluate.txt"'))
    (tmp_path / "evaluate.txt").write_text("\n".join(f" line {number}" for number in range(16)) + "\n\n", "utf-8")
    assert [prompt.text for prompt in load_behavior(path).prompts("evaluate")][:2] == ["line 0", "line 1"]
    (tmp_path / "evaluate.txt").unlink()
    assert f"no prompt file {tmp_path / 'evaluate.txt'}" in str(failure(path))


def test_a_bad_prompt_line_is_named(tmp_path):
    path = write(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"text": "a", "split": "find"}\nnot json\n', encoding="utf-8")
    assert f"{tmp_path / 'prompts.jsonl'}, line 2: not JSON" in str(failure(path))


def test_an_oracle_that_needs_steps_names_a_prompt_without(tmp_path):
    toml = VALID.replace('type = "regex"\npattern = "x"', 'type = "steps"')
    text = str(failure(write(tmp_path, toml)))
    assert "oracle 'target' (steps) needs 'steps' of every prompt; 20 of 20 have none" in text
    assert "select.p000" in text


def test_key_lines_see_through_lists_strings_and_comments():
    toml = '''\
# name = "no"
a = """
b = 1
[c]
"""
list = [
  "x = 1",
  # y = 2
]
[[row]]
k = 1
[[row]]
k = 2  # comment
["quoted key".sub]
dotted.key = 3
'''
    lines = key_lines(toml)
    assert lines["a",] == 2
    assert lines["list",] == 6
    assert (lines["row", 0, "k"], lines["row", 1, "k"]) == (11, 13)
    assert lines["quoted key", "sub", "dotted", "key"] == 15
    assert not {("b",), ("c",), ("name",), ("x",), ("y",)} & set(lines)
