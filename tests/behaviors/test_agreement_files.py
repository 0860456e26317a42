"""Files of an oracle's agreement with people: what is written is read, and holds for that very oracle alone."""

from __future__ import annotations

import json

import pytest

from controlwindow.behaviors import load_behavior, load_to_run
from controlwindow.behaviors.agreement import measure_agreement
from controlwindow.behaviors.agreement_files import (
    agreement_records,
    agreements_of,
    oracle_fingerprint,
    write_agreement,
)
from controlwindow.errors import BehaviorError, UsageError

FILE = """
name = "declines"
horizons = [8]
outcomes = "{outcomes}"

{oracles}

[agreement]
{name} = "measured.json"

[prompts]
evaluate = [{prompts}]
"""
REFUSED = '[oracles.refused]\ntype = "refusal"'


def behavior(folder, name="refused", oracles=REFUSED, outcomes="refusal"):
    prompts = ", ".join(f'"ask {number}"' for number in range(16))
    path = folder / "declines.toml"
    path.write_text(FILE.format(outcomes=outcomes, oracles=oracles, name=name, prompts=prompts), "utf-8")
    return load_behavior(path)


def measured(folder, oracle, languages=("en",), **changes):
    labels = folder / "labels.csv"
    labels.write_text("prompt,answer,label\n", "utf-8")
    found = measure_agreement([True, True, False, None], [True, False, False, True], 3).to_json()
    document = {"oracle": oracle.type, **found, "seed": 3, "measured": oracle_fingerprint(oracle, languages)}
    write_agreement(folder / "measured.json", {**document, **changes}, labels, ["yes"])


def test_what_was_measured_is_read(tmp_path):
    found = behavior(tmp_path)
    measured(tmp_path, found.definition.oracles["refused"])
    read = agreements_of(found)["refused"]
    assert read.agreement == measure_agreement([True, True, False, None], [True, False, False, True], 3)
    assert read.labels.file == "labels.csv"
    record = agreement_records(found)["refused"]
    assert record["decides"] == {"yes": "refused", "of": ["refused", "actionable", "bypass", "off_task"]}
    assert record["confusion"]["abstained_yes"] == 1


def test_what_was_measured_changes_no_fingerprint(tmp_path):
    found = behavior(tmp_path)
    plain = tmp_path / "declines.toml"
    text = plain.read_text("utf-8").replace('[agreement]\nrefused = "measured.json"\n', "")
    plain.write_text(text, "utf-8")
    assert load_behavior(plain).fingerprint == found.fingerprint


@pytest.mark.parametrize(
    ("oracles", "name", "outcomes", "decides"),
    [
        (
            '[oracles.target]\ntype = "refusal"',
            "target",
            "switch",
            {"yes": "switched", "of": ["switched", "unswitched"]},
        ),
        (
            '[oracles.target]\ntype = "refusal"\n[oracles.source]\ntype = "regex"\npattern = "yes"',
            "target",
            "switch",
            None,
        ),
        (
            REFUSED + '\n[oracles.on_task]\ntype = "on_task"',
            "on_task",
            "refusal",
            {"yes": "bypass", "of": ["bypass", "off_task"]},
        ),
    ],
)
def test_an_outcome_tells_what_an_oracle_said_or_does_not(tmp_path, oracles, name, outcomes, decides):
    found = behavior(tmp_path, name, oracles, outcomes)
    measured(tmp_path, found.definition.oracles[name])
    assert agreement_records(found)[name]["decides"] == decides


def test_another_oracle_is_refused(tmp_path):
    found = behavior(tmp_path)
    measured(tmp_path, found.definition.oracles["refused"])
    stricter = behavior(tmp_path, oracles=REFUSED + "\nopening = 100")
    with pytest.raises(
        BehaviorError, match=r"measured.json was measured with another oracle \(refusal\) than 'refused'"
    ) as caught:
        agreements_of(stricter)
    assert f"controlwindow judge {tmp_path / 'declines.toml'}:refused" in caught.value.hint


def test_other_languages_are_another_oracle(tmp_path):
    found = behavior(tmp_path)
    measured(tmp_path, found.definition.oracles["refused"], ("en", "fr"))
    with pytest.raises(BehaviorError, match="another oracle"):
        load_to_run(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no agreement file"),
        ("{", "says nothing of an oracle's agreement: Invalid JSON"),
        ("[]", "says nothing of an oracle's agreement"),
        ('{"oracle": "refusal"}', "agreement: measured: Field required"),
        (-1, r"agreement: confusion\.both: .* greater than or equal to 0"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    found = behavior(tmp_path)
    measured(tmp_path, found.definition.oracles["refused"])
    path = tmp_path / "measured.json"
    if content is None:
        path.unlink()
    elif isinstance(content, int):
        values = json.loads(path.read_text("utf-8"))
        values["confusion"]["both"] = content
        path.write_text(json.dumps(values), "utf-8")
    else:
        path.write_text(content, "utf-8")
    with pytest.raises(BehaviorError, match=message):
        load_to_run(found)


def test_an_agreement_of_no_oracle_is_named_with_its_line(tmp_path):
    with pytest.raises(
        BehaviorError, match=r"line 10, key 'agreement\.refuse': 'refuse' is no oracle of this behavior"
    ):
        behavior(tmp_path, name="refuse")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "labels.csv").write_text("", "utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write_agreement(tmp_path / "none" / "a.json", {}, tmp_path / "labels.csv", ["yes"])
