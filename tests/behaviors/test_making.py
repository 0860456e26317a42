"""Behaviors made of tables: duplicates dropped and counted, disjoint splits from a seed, files that load."""

import json
from dataclasses import replace

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.making import Recipe, SideCount, make_behavior
from controlwindow.behaviors.prompts import normalized
from controlwindow.behaviors.sources import TableSource
from controlwindow.errors import BehaviorError
from controlwindow.models.chat import turns_of

SIZES = {"find": 10, "select": 6, "evaluate": 16}


@pytest.fixture
def tables(tmp_path):
    harmful = [f"Do harm {number}" for number in range(40)]
    rows = [*harmful, "do  HARM 3", "Do harm\u200b 4", "", " "]
    (tmp_path / "harmful.csv").write_text("goal\n" + "\n".join(f'"{row}"' for row in rows), "utf-8")
    benign = [{"q": f"Do good {number}"} for number in range(34)]
    benign += [{"q": "Do harm 5"}]
    (tmp_path / "benign.jsonl").write_text("\n".join(map(json.dumps, benign)), "utf-8")
    return tmp_path


def recipe(**changes) -> Recipe:
    made = Recipe(
        name="made",
        positive=TableSource(file="harmful.csv", column="goal"),
        negative=TableSource(file="benign.jsonl", column="q"),
        sizes=SIZES,
    )
    return replace(made, **changes)


def test_what_is_made_loads_and_its_splits_never_meet(tables):
    made = make_behavior(recipe(), tables / "out", tables)
    assert made.sides == {
        "positive": SideCount(str(tables / "harmful.csv"), 44, 2, 2, 32),
        "negative": SideCount(str(tables / "benign.jsonl"), 35, 0, 1, 32),
    }
    assert (made.path, made.prompts) == (tables / "out" / "made.toml", tables / "out" / "made.jsonl")
    loaded = load_behavior(made.path, needs_contrast=True)
    assert loaded.fingerprint == made.behavior.fingerprint
    assert {split: len(loaded.prompts(split)) for split in SIZES} == SIZES
    assert {split: len(loaded.prompts(split, "negative")) for split in SIZES} == SIZES
    texts = [normalized(prompt.text) for prompt in loaded.all_prompts]
    assert len(set(texts)) == len(texts) == 64
    assert (loaded.sensitive, loaded.definition.outcomes, loaded.minimum_eligible) == (True, "refusal", 16)
    assert loaded.perturbation_pairs()
    assert sorted(path.name for path in (tables / "out").iterdir()) == ["made.jsonl", "made.toml"]


def test_the_seed_decides_the_draw(tables):
    def drawn(name: str, **changes) -> str:
        return make_behavior(recipe(name=name, **changes), tables / "out", tables).prompts.read_text("utf-8")

    assert drawn("a") == drawn("b")
    assert drawn("c", seed=1) != drawn("a2")


def test_paired_rows_stay_beside_each_other(tmp_path):
    (tmp_path / "en.tsv").write_text("\n".join([f"sum {n}\t{n}" for n in range(40)] + ["sum 1\tx", "\ty"]), "utf-8")
    (tmp_path / "fr.tsv").write_text("\n".join([f"somme {n}\t{n}" for n in range(40)] + ["a\tx", "b\ty"]), "utf-8")
    oracles = {"target": {"type": "language", "language": "fr"}, "source": {"type": "language", "language": "en"}}
    made = make_behavior(
        recipe(
            positive=TableSource(file="en.tsv", column="#1", language="en"),
            negative=TableSource(file="fr.tsv", column="#1", language="fr"),
            languages=("en", "fr"),
            oracles=oracles,
            paired=True,
        ),
        tmp_path,
        tmp_path,
    )
    behavior = made.behavior
    pairs = behavior.perturbation_pairs()
    assert len(pairs) == 10
    assert all(other == one.replace("sum", "somme") for one, other in pairs)
    assert {prompt.language for prompt in behavior.prompts("find")} == {"en"}
    assert (behavior.sensitive, behavior.definition.outcomes) == (False, "switch")
    assert (made.sides["positive"].duplicates, made.sides["positive"].empty) == (1, 1)
    (tmp_path / "fr.tsv").write_text("somme\tx\n" * 3, "utf-8")
    with pytest.raises(BehaviorError, match="positive has 40, negative has 3"):
        make_behavior(
            recipe(
                name="b",
                positive=TableSource(file="en.tsv", column="#1", n=40),
                negative=TableSource(file="fr.tsv", column="#1"),
                paired=True,
            ),
            tmp_path,
            tmp_path,
        )


def test_conversations_and_fields_are_written(tmp_path):
    rows = [{"u": f"Where {n}?", "a": "There.", "v": f"Sure {n}?", "right": f"there {n}"} for n in range(40)]
    (tmp_path / "t.json").write_text(json.dumps(rows), "utf-8")
    source = TableSource(file="t.json", column=("u", "a", "v"), fields={"source": "right"}, where={"a": "There."})
    made = make_behavior(recipe(positive=source, negative=None), tmp_path, tmp_path)
    prompt = made.behavior.prompts("find")[0]
    number = turns_of(prompt.text)[0].split()[1].rstrip("?")
    assert turns_of(prompt.text) == (f"Where {number}?", "There.", f"Sure {number}?")
    assert prompt.source == (f"there {number}",)


def test_values_are_written_as_toml_reads_them(tables):
    oracle = {"type": "regex", "pattern": '^"\\s\u007f\t’é', "ignore_case": True}
    made = make_behavior(recipe(oracles={"refused": oracle}, description='A "word"\n.'), tables / "out", tables)
    written = made.behavior.definition
    assert (written.description, written.oracles["refused"].model_dump()) == (
        'A "word"\n.',
        {**oracle, "present": True},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sizes": {**SIZES, "evaluate": 25}},
            "40 positive prompts are left of 44 rows (2 empty, 2 duplicates), 41 are",
        ),
        ({"name": "a/b"}, "'a/b' cannot be the name of a behavior"),
        ({"positive": TableSource(file="harmful.csv", column="Goal")}, "has no column 'Goal'; its columns are 'goal'"),
        ({"oracles": {"target": {"type": "regex", "pattern": "("}}}, "bad regular expression"),
        ({"languages": ("klingon",)}, "unknown language 'klingon'"),
    ],
)
def test_what_cannot_be_made_leaves_nothing_behind(tables, changes, message):
    with pytest.raises(BehaviorError) as caught:
        make_behavior(recipe(**changes), tables / "out", tables)
    assert message in str(caught.value)
    assert ".making-" not in str(caught.value)
    assert caught.value.hint
    assert not (tables / "out").exists() or not list((tables / "out").iterdir())


def test_nothing_is_overwritten(tables):
    make_behavior(recipe(), tables, tables)
    with pytest.raises(BehaviorError, match=r"made\.toml exists"):
        make_behavior(recipe(seed=5), tables, tables)
