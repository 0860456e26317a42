"""`behaviors list | new | check`, and the one-liners that docs/behaviors.md gives for public sets of prompts."""

import re
import shlex
from pathlib import Path

import pytest

from controlwindow.behaviors import known_behaviors, load_behavior

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "prompts"


def one_liners() -> list[str]:
    page = (ROOT / "docs" / "behaviors.md").read_text("utf-8")
    joined = re.sub(r"\\\n\s*", " ", page)
    return re.findall(r"^controlwindow (behaviors new (?!NAME).*)$", joined, re.MULTILINE)


def test_list_says_what_is_shipped(command):
    listed = command("behaviors", "list", "--json").json()
    assert tuple(entry["name"] for entry in listed) == known_behaviors()
    language = next(entry for entry in listed if entry["name"] == "language")
    assert language["prompts"] == {"find": 64, "select": 32, "evaluate": 40}
    assert language["oracles"] == {"target": "language", "source": "language"}
    assert (language["needed"], language["screens"]) == (32, True)
    shown = command("behaviors", "list")
    assert shown.code == 0
    assert all(name in shown.out for name in known_behaviors())


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.csv").write_text("goal,kind\n" + "\n".join(f'"Harm, {n}",{n % 2}' for n in range(80)), "utf-8")
    (tmp_path / "b.txt").write_text("\n".join(f"Good {n}" for n in range(60)), "utf-8")
    return tmp_path


SMALL = ("--find", 10, "--select", 4, "--evaluate", 16)


def test_new_makes_files_that_check_accepts(command, tables):
    made = command(
        "behaviors", "new", "mine", "--positive", "h.csv:goal", "--positive-where", "kind=1", "--negative", "b.txt",
        *SMALL, "--seed", 3, "--out", "o", "--json",
    ).json()  # fmt: skip
    assert made["sides"]["positive"] == {"source": "h.csv", "rows": 40, "empty": 0, "duplicates": 0, "used": 30}
    assert made["splits"] == {"find": 10, "select": 4, "evaluate": 16}
    behavior = load_behavior(tables / "o" / "mine.toml")
    assert made["fingerprint"] == behavior.fingerprint
    assert all(int(prompt.text.split()[1]) % 2 for prompt in behavior.prompts("evaluate"))
    checked = command("behaviors", "check", "o/mine.toml", "--json").json()
    assert (checked["fingerprint"], checked["screens"]) == (behavior.fingerprint, True)
    shown = command("behaviors", "check", "o/mine.toml")
    assert (shown.code, shown.out.splitlines()[0]) == (0, "mine")


def test_new_takes_oracles_as_files_write_them(command, tables):
    made = command(
        "behaviors", "new", "mine", "--positive", "h.csv:goal", *SMALL, "--language", "en", "--horizon", 8, "--horizon",
        12, "--oracle", 'target={type="contains", any=["yes"]}', "--field", "about=kind", "--no-sensitive",
    )  # fmt: skip
    assert made.code == 0
    assert "each side: 10 find, 4 select, 16 evaluate" in made.out
    behavior = load_behavior(tables / "mine.toml")
    assert (behavior.horizons, behavior.definition.outcomes, behavior.sensitive) == ((8, 12), "switch", False)
    assert behavior.prompts("find")[0].about in {("0",), ("1",)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--positive", "h.csv:Goal"), "h.csv has no column 'Goal'; its columns are 'goal', 'kind'"),
        (("--positive", "h.csv:goal,kind"), "a conversation has the user's message first and last"),
        (("--positive", "none.csv:goal"), "no prompt file none.csv"),
        (("--positive", "h.csv:goal", "--positive-where", "kind"), "'kind' is not NAME=VALUE"),
        (("--positive", "h.csv:goal", "--positive-where", "kind=7"), "has 0 rows that meet 'where'"),
        (("--positive", "h.csv:goal", "--oracle", "target=regex"), "is no oracle"),
        (("--positive", "h.csv:goal", "--oracle", "target=3"), "a table is needed"),
        (("--positive", "h.csv:goal", "--field", "colour=kind"), "'colour' is no field of a prompt"),
        (("--positive", "h.csv:goal", "--find", 64), "80 positive prompts are left of 80 rows"),
        (("--positive", "hub:org/name:goal"), "needs the library datasets"),
    ],
)
def test_mistakes_are_one_error_each(command, tables, monkeypatch, options, message):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    refused = command("behaviors", "new", "mine", "--select", 4, "--evaluate", 16, *options)
    assert refused.code == 2
    assert message in " ".join(refused.err.split())
    assert "hint: " in refused.err
    assert not list(tables.glob("mine*"))


def test_check_rolls_prompts_out_on_a_model(command, behavior):
    found = command("behaviors", "check", behavior, "organism:switch", "--json").json()
    assert found["splits"]["evaluate"]["eligible"] == 16
    assert found["enough"]
    assert {sample["answer"] for sample in found["samples"]} == {None}
    shown = command("behaviors", "check", behavior, "organism:switch")
    assert "answers are withheld" in shown.out
    assert "an audit of 8 neurons on both branches: about" in shown.out


def test_check_says_what_is_answered_instead(command, tmp_path):
    text = "\n".join(f"What is the number {n}?" for n in range(16))
    (tmp_path / "q.txt").write_text(text, "utf-8")
    path = tmp_path / "q.toml"
    path.write_text(
        'name = "q"\nhorizons = [8]\n[oracles.target]\ntype = "regex"\npattern = "."\n[prompts]\nevaluate = "q.txt"\n',
        "utf-8",
    )
    shown = " ".join(command("behaviors", "check", path, "organism:switch").out.split())
    assert "0 of 16 evaluation prompts are eligible, 16 are needed. Instead of 'unswitched', most answers are" in shown
    assert "evaluate.p000 (" in shown


@pytest.mark.skipif(not DATA.is_dir(), reason="the public sets of prompts are not at hand")
@pytest.mark.parametrize("line", one_liners(), ids=lambda line: shlex.split(line)[2])
def test_documented_one_liners_make_behaviors(command, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=False)
    for option in ("--positive", "--negative"):
        if option in words:
            file = Path(words[words.index(option) + 1].rpartition(":")[0])
            (source,) = [path for path in DATA.rglob(file.name) if path.parts[-len(file.parts) :] == file.parts]
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.symlink_to(source)
    made = command(*words, "--json").json()
    behavior = load_behavior(tmp_path / made["behavior"])
    assert len(behavior.prompts("evaluate")) >= 48
    assert len(behavior.contrast("find").negative) >= 36


def test_there_is_a_one_liner_for_every_public_set():
    named = {shlex.split(line)[2] for line in one_liners()}
    assert named == {"jailbreakbench", "advbench", "harmbench", "xstest", "caa", "mgsm", "truthfulqa"}
