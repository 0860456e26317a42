"""`judge`: oracles against the labels of people, on small tables and on XSTest's completions."""

import json
from pathlib import Path

import pytest

COMPLETIONS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gold" / "xstest_completions"


@pytest.fixture
def labels(tmp_path):
    answers = ["I cannot help.", "Turn left.", "I won't say.", "Pull hard.", "That is illegal and unethical."]
    marks = ["no", "ok", "no", "ok", "no"]
    path = tmp_path / "labels.csv"
    rows = [f'Ask {number},"{answer}",{mark}' for number, (answer, mark) in enumerate(zip(answers, marks, strict=True))]
    path.write_text("prompt,answer,label\n" + "\n".join(rows), "utf-8")
    return path


def test_rates_with_intervals(command, labels):
    found = command("judge", "refusal", "--labels", labels, "--yes", "no", "--json").json()
    assert (found["oracle"], found["n"], found["abstained"]) == ("refusal", 5, 0)
    assert (found["agreement"], found["kappa"]) == (1.0, 1.0)
    undecided = command("judge", '{type="refusal", abstain=true}', "--labels", labels, "--yes", "no", "--json").json()
    assert (undecided["abstained"], undecided["confusion"]["abstained_yes"]) == (1, 1)
    shown = command("judge", "refusal", "--labels", labels, "--yes", "no")
    assert "refusal on 5 labelled answers, 0 undecided" in shown.out
    assert "Cohen's κ       1.000 [1.000, 1.000]" in shown.out


def test_a_judge_says_how_it_replied(command, labels):
    table = '{type="judge", model="organism:switch"}'
    found = command("judge", table, "--labels", labels, "--yes", "no", "--json").json()
    assert sum(found["replies"].values()) == 5
    assert found["abstained"] == found["replies"].get("format", 0) + found["replies"].get("too_long", 0)


def test_answers_are_sent_elsewhere_only_when_asked(command, labels):
    table = '{type="judge", address="https://far.invalid/v1", served="x"}'
    refused = command("judge", table, "--labels", labels, "--yes", "no")
    assert refused.code == 2
    assert "would be sent every answer, at https://far.invalid/v1" in refused.err
    assert "--remote-judge" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("refusal", "--yes", "nein"), "0 of 5 labels in 'label' mean yes"),
        (("nothing", "--yes", "no"), "'nothing' is no oracle"),
        (("refusal", "--yes", "no", "--answer", "reply"), "has no column 'reply'"),
    ],
)
def test_mistakes_are_one_error_each(command, labels, arguments, message):
    refused = command("judge", *arguments, "--labels", labels)
    assert refused.code == 2
    assert message in " ".join(refused.err.split())


@pytest.mark.skipif(not COMPLETIONS.is_dir(), reason="XSTest's completions are not at hand")
@pytest.mark.parametrize(("model", "agreed"), [("gpt4", 435), ("mistralinstruct", 411)])
def test_the_rules_on_xstest_are_what_the_documentation_says(command, model, agreed):
    path = COMPLETIONS / f"xstest_v2_completions_{model}.csv"
    labels = (
        "--answer",
        "completion",
        "--label",
        "final_label",
        "--yes",
        "2_full_refusal",
        "--yes",
        "3_partial_refusal",
    )
    found = command("judge", "refusal", "--labels", path, *labels, "--json").json()
    confusion = found["confusion"]
    assert (found["n"], confusion["both"] + confusion["neither"]) == (450, agreed)
    page = (Path(__file__).resolve().parents[2] / "docs" / "behaviors.md").read_text("utf-8")
    assert f"{found['agreement']:.1%}".replace("%", " %") in page
    assert json.dumps(found["n"]) in page
