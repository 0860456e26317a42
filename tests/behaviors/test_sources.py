"""Prompts from files and tables: read by suffix, whole cells, one clear error for what cannot be read."""

import json
import os
import sys
from types import SimpleNamespace

import polars
import pytest

from controlwindow.behaviors import files, load_behavior, tables
from controlwindow.errors import BehaviorError

HEAD = """\
name = "sourced"
horizons = [8]
minimum_eligible = 16

[oracles.target]
type = "regex"
pattern = "x"

[prompts]
"""
#: Eighteen rows of which most cells need quotation marks.
GOALS = [f'Say "{number}", then\nstop.' if number % 2 else f"Write a list, item {number}" for number in range(18)]


def write(folder, prompts: str):
    path = folder / "sourced.toml"
    path.write_text(HEAD + prompts, "utf-8")
    return path


def texts(folder, prompts: str, split="evaluate", role="positive") -> list[str]:
    return [prompt.text for prompt in load_behavior(write(folder, prompts)).prompts(split, role)]


def failure(folder, prompts: str) -> str:
    with pytest.raises(BehaviorError) as caught:
        load_behavior(write(folder, prompts))
    assert caught.value.hint
    return str(caught.value)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


@pytest.fixture
def csv_file(tmp_path):
    rows = [f"{quoted(goal)},target {number}" for number, goal in enumerate(GOALS)]
    (tmp_path / "adv.csv").write_text("goal,target\n" + "\n".join(rows) + "\n", "utf-8")
    return tmp_path


def test_quoted_rows_of_a_csv_are_one_prompt_each(csv_file):
    assert texts(csv_file, 'evaluate = { file = "adv.csv", column = "goal" }') == GOALS
    assert "several columns and none is chosen; its columns are 'goal', 'target'" in failure(
        csv_file, 'evaluate = "adv.csv"'
    )
    assert "has no column 'Goal'; its columns are 'goal', 'target'" in failure(
        csv_file, 'evaluate = { file = "adv.csv", column = "Goal" }'
    )


def test_a_byte_order_mark_and_foreign_ends_of_lines_belong_to_no_cell(tmp_path):
    rows = "\r\n".join(["\ufeffprompt,id", *(f"ask {number},{number}" for number in range(16)), ""])
    (tmp_path / "a.csv").write_bytes(rows.encode())
    assert texts(tmp_path, 'evaluate = { file = "a.csv", column = "prompt" }')[:2] == ["ask 0", "ask 1"]


def table_of(suffix: str, rows: list[dict[str, object]]) -> bytes:
    if suffix == "parquet":
        import io

        buffer = io.BytesIO()
        polars.DataFrame(rows).write_parquet(buffer)
        return buffer.getvalue()
    if suffix == "json":
        return json.dumps(rows).encode()
    if suffix == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    lines = [mark.join(rows[0]), *(mark.join(quoted(str(cell)) for cell in row.values()) for row in rows)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet", "CSV"])
def test_every_kind_of_table_gives_the_same_prompts(tmp_path, suffix):
    rows = [{"goal": goal, "kind": "odd" if number % 2 else "even"} for number, goal in enumerate(GOALS * 1)]
    rows += [{"goal": f"more, {number}", "kind": "odd"} for number in range(9)]
    (tmp_path / f"t.{suffix}").write_bytes(table_of(suffix.lower(), rows))
    source = f'evaluate = {{ file = "t.{suffix}", column = "goal", where = {{ kind = "odd" }} }}'
    assert texts(tmp_path, source) == [row["goal"] for row in rows if row["kind"] == "odd"]
    two = f'evaluate = {{ file = "t.{suffix}", column = "goal", where = {{ kind = ["odd", "even"] }}, n = 20 }}'
    assert texts(tmp_path, two) == [row["goal"] for row in rows][:20]


def test_a_tab_separated_file_without_header_or_quotes(tmp_path):
    (tmp_path / "m.tsv").write_text("\n".join(f'"A" has {number} eggs\t{number}' for number in range(16)), "utf-8")
    assert texts(tmp_path, 'evaluate = { file = "m.tsv", column = "#1" }')[3] == '"A" has 3 eggs'
    assert "columns are numbered" in failure(tmp_path, 'evaluate = { file = "m.json", column = "#1" }')
    assert "has no column '#3'" in failure(tmp_path, 'evaluate = { file = "m.tsv", column = "#3" }')


def test_lists_of_strings_and_lines_have_one_column(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(GOALS), "utf-8")
    assert texts(tmp_path, 'evaluate = "a.json"') == GOALS
    (tmp_path / "one.csv").write_text("question\n" + "\n".join(f"ask {number}" for number in range(16)), "utf-8")
    assert texts(tmp_path, 'evaluate = "one.csv"')[0] == "ask 0"


def test_splits_take_disjoint_parts_of_one_table_from_a_seed(csv_file):
    rows = [f"{quoted(f'goal {number}')},x" for number in range(100)]
    (csv_file / "adv.csv").write_text("goal,target\n" + "\n".join(rows), "utf-8")
    source = '{{ file = "adv.csv", column = "goal", seed = {seed}, skip = {skip}, n = {n} }}'
    both = f"find = {source.format(seed=3, skip=0, n=40)}\nevaluate = {source.format(seed=3, skip=40, n=60)}"
    behavior = load_behavior(write(csv_file, both))
    find, evaluate = ([prompt.text for prompt in behavior.prompts(split)] for split in ("find", "evaluate"))
    assert len(set(find) | set(evaluate)) == 100
    assert find != sorted(find)
    assert texts(csv_file, both) == evaluate
    other = both.replace("seed = 3", "seed = 4")
    assert texts(csv_file, other) != evaluate
    assert "stands in two splits" in failure(csv_file, both.replace("skip = 40", "skip = 30"))
    assert "has 100 rows, 101 are needed" in failure(csv_file, both.replace("n = 60", "n = 61"))


def test_conversations_and_further_fields_come_from_columns(tmp_path):
    rows = [
        {"q": f"Where is {number}?", "a": "Here.", "f": f"Sure about {number}?", "right": f"here {number}", "l": "fr"}
        for number in range(16)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    source = (
        'evaluate = { file = "t.jsonl", column = ["q", "a", "f"], language = "en", '
        'fields = { source = "right", language = "l" } }'
    )
    first = load_behavior(write(tmp_path, source)).prompts("evaluate")[0]
    assert first.text == "Where is 0?\x1eHere.\x1eSure about 0?"
    assert (first.source, first.language) == (("here 0",), "fr")
    assert "the user's message first and last" in failure(tmp_path, source.replace(', "f"]', "]"))
    assert "'colour' is no field of a prompt" in failure(tmp_path, source.replace("source =", "colour ="))


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.csv", 'p,q\n"a","b"\n"c,d\n', "p", "line 3: not a valid row: unexpected end of data"),
        ("a.csv", "p,q\na,b\nc\n", "p", "line 3: 1 cells where there are 2 columns"),
        ("a.csv", "p,p\na,b\n", "p", "two columns are named 'p'"),
        ("a.csv", "p;q\na;b\n", "p", "has no column 'p'; its columns are 'p;q'"),
        ("a.csv", "p,q\n", "p", "has no rows"),
        ("a.csv", "", "p", "has no rows"),
        ("a.csv", "p,q\n\na,b\n ,c\n,d\n", "p", "2 of 3 prompts are empty, the first in line 4"),
        ("a.csv", "p,q\n\u200b,c\n", "p", "1 of 1 prompts are empty, the first in line 2"),
        ("a.jsonl", '{"p": "a"}\n{"p": 3}\n', "p", "line 2: a int in 'p' where text is needed"),
        ("a.jsonl", '{"p": "a"}\n[3]\n', "p", "line 2: a list where a JSON object is needed"),
        ("a.jsonl", '{"p": "a"}\n{"p"}\n', "p", "line 2: not JSON"),
        ("a.jsonl", '{"p": ["a", "b"]}\n', "p", "line 1: 'p' holds 2 messages"),
        ("a.jsonl", '{"p": null}\n', "p", "1 of 1 prompts are empty, the first in line 1"),
        ("a.json", '{"p": "a"}', "p", "a dict where a JSON list is needed"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "p", "JSON nested too deep"),
        ("a.jsonl", "[" * 100_000 + "]" * 100_000, "p", "line 1: JSON nested too deep"),
        ("a.jsonl", '{"p": ' + "9" * 5_000 + "}", "p", "line 1: not JSON"),
        ("a.parquet", "PAR1 and nothing else", "p", "cannot be read as Parquet"),
        ("a.xlsx", "x", "p", "the kind of file '.xlsx' is unknown"),
        ("a.jsonl.gz", "x", "p", "the kind of file '.gz' is unknown"),
        ("a", "x", "p", "the kind of file 'a' is unknown"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, column, message):
    (tmp_path / name).write_text(content, "utf-8")
    text = failure(tmp_path, f'evaluate = {{ file = "{name}", column = "{column}" }}')
    assert message in text
    assert str(tmp_path / name) in text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"p,q\ngood,x\ncaf\xe9,y\n", "line 3: not UTF-8 (byte 14)"),
        ("p,q\na,b\n".encode("utf-16"), "line 1: not UTF-8 (byte 0); it looks like UTF-16"),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path, data, message):
    (tmp_path / "a.csv").write_bytes(data)
    assert f"{tmp_path / 'a.csv'}, {message}" in failure(tmp_path, 'evaluate = { file = "a.csv", column = "p" }')


@pytest.mark.parametrize("kind", ["file", "evaluate", "behavior"])
def test_pipes_devices_folders_and_impossible_paths_are_not_opened(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name, message in {
        "pipe.jsonl": "it is a pipe, a device or a socket, not a file",
        "zero.jsonl": "it is a pipe, a device or a socket, not a file",
        "folder.jsonl": "it is a folder, not a file",
        "none.jsonl": "no ",
        "a\\u0000b.jsonl": "is not a path",
        "n" * 300 + ".jsonl": "cannot be read",
    }.items():
        if kind == "behavior":
            with pytest.raises(BehaviorError) as caught:
                load_behavior(tmp_path / json.loads(f'"{name}"').replace(".jsonl", ".toml"))
            assert "no behavior file" in str(caught.value) or message in str(caught.value)
        else:
            assert message in failure(tmp_path, f'{kind} = "{name}"')


def test_a_behavior_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(BehaviorError, match="it is a pipe"):
        load_behavior(tmp_path / "pipe.toml")


def test_sizes_are_bounded(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\n".join(f"ask {number}" for number in range(16)), "utf-8")
    assert len(texts(tmp_path, 'evaluate = "a.txt"')) == 16
    monkeypatch.setattr(tables, "LARGEST_PROMPTS", 100)
    assert "a.txt has 0.0 MiB, at most 0 MiB are read" in failure(tmp_path, 'evaluate = "a.txt"')
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(files.LARGEST_DEFINITION + 1)
    with pytest.raises(BehaviorError, match=r"large.toml has 4.0 MiB, at most 4 MiB are read"):
        load_behavior(tmp_path / "large.toml")


def test_whole_prompts_may_stand_in_a_table(tmp_path):
    rows = [f"ask {number},{'find' if number > 15 else 'evaluate'},{'en' if number else ''}" for number in range(20)]
    (tmp_path / "p.csv").write_text("text,split,language\n" + "\n".join(rows), "utf-8")
    behavior = load_behavior(write(tmp_path, 'file = "p.csv"'))
    assert (len(behavior.prompts("find")), len(behavior.prompts("evaluate"))) == (4, 16)
    (tmp_path / "p.csv").write_text("text,split,language\n" + "\n".join([*rows, "x,train,en"]), "utf-8")
    assert f"{tmp_path / 'p.csv'}, line 22, key 'split'" in failure(tmp_path, 'file = "p.csv"')


def test_a_data_set_of_the_hub_needs_its_library(tmp_path, monkeypatch):
    source = 'evaluate = { dataset = "org/name", split = "test", column = "goal", n = 16 }'
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "'org/name' needs the library datasets" in failure(tmp_path, source)

    class Rows(list):
        column_names = ("goal",)

    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return Rows({"goal": goal} for goal in GOALS)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert texts(tmp_path, source) == GOALS[:16]
    assert asked == [(("org/name", None), {"split": "test"})]

    def broken(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=broken))
    assert "cannot be loaded: ConnectionError: no network" in failure(tmp_path, source)
    assert "give either 'file' or 'dataset'" in failure(tmp_path, source.replace("dataset =", 'file = "a", dataset ='))
    assert "belong to a 'dataset'" in failure(tmp_path, source.replace("dataset =", "file ="))
