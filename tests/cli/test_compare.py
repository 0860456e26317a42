"""`compare` and `screen --detection`, on the shipped organism and a small cut of its behavior."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlwindow import compare_interventions, load_model
from controlwindow.interventions.comparison import METRICS
from controlwindow.runs import scheduler as scheduler_module

_OPTIONS = ("-m", "ablate", "--level", "0.5", "--no-controls")


@pytest.fixture(scope="module")
def compared(tmp_path_factory, behavior, refusal_neuron) -> tuple[Path, dict]:
    """A comparison that was cut off twice and gone on with, and its document."""
    directory = tmp_path_factory.mktemp("compare") / "run"
    model = load_model("organism:switch", device="cpu")
    plain = scheduler_module.Scheduler._run_chunk
    chunks = 0

    def cut_off(self, chunk):
        nonlocal chunks
        chunks += 1
        if chunks in (2, 5):
            raise KeyboardInterrupt
        plain(self, chunk)

    scheduler_module.Scheduler._run_chunk = cut_off  # type: ignore[method-assign]
    options = {"methods": ("ablate",), "levels": (0.5,), "controls": False}
    try:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                compare_interventions(model, behavior, [refusal_neuron], directory, **options)
        found = compare_interventions(model, behavior, [refusal_neuron], directory, **options)
    finally:
        scheduler_module.Scheduler._run_chunk = plain  # type: ignore[method-assign]
    return directory, found.to_json()


def test_what_was_cut_off_says_what_a_whole_run_says(compared, command, behavior, refusal_neuron) -> None:
    _, document = compared
    whole = command("compare", "organism:switch", "-b", behavior, "-n", refusal_neuron, *_OPTIONS, "--json")
    assert whole.code == 0
    assert whole.json()["results"] == json.loads(json.dumps(_rounded(document["results"])))
    (row,) = document["results"]
    # The planted refusal neuron acts when enough of it is taken away.
    assert row["matched"]
    assert 0.3 < row["strength"] < 0.75
    assert set(row["metrics"]) == set(METRICS)
    assert row["metrics"]["collapsed"]["value"] == 0
    assert 0.2 <= row["metrics"]["behavior_rate"]["value"] <= 0.9


def _rounded(value):
    from controlwindow.values import round_floats

    return round_floats(value)


def test_a_finished_directory_is_only_shown_again(compared, command, behavior, refusal_neuron) -> None:
    directory, _ = compared
    page = directory / "report.html"
    assert refusal_neuron in page.read_text("utf-8")
    page.unlink()
    again = command("compare", "organism:switch", "-b", behavior, "-n", refusal_neuron, *_OPTIONS, "--out", directory)
    assert again.code == 0
    assert page.exists()
    assert f"ablate {refusal_neuron}" in again.out
    assert "not extrapolated" in again.out


def test_a_run_is_shown_drawn_and_resumed_by_its_directory(compared, command, refusal_neuron) -> None:
    directory, document = compared
    shown = command("results", directory, "--json").json()
    assert shown["results"] == json.loads(json.dumps(_rounded(document["results"])))
    assert command("resume", directory, "--json").json() == shown
    drawn = command("report", directory, "--json").json()
    assert Path(drawn["report"]).read_text("utf-8").count(refusal_neuron) > 2
    assert [Path(path).stem for path in drawn["figures"]] == ["comparison-costs", "comparison-rates"]
    manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
    assert manifest["configuration"]["neurons"] == [refusal_neuron]


def test_another_comparison_does_not_go_into_the_same_directory(compared, command, behavior, refusal_neuron) -> None:
    directory, _ = compared
    other = command(
        "compare",
        "organism:switch",
        "-b",
        behavior,
        "-n",
        refusal_neuron,
        "-m",
        "add",
        "--level",
        "0.5",
        "--out",
        directory,
    )
    assert other.code == 2
    assert "differs in methods" in other.err
    assert "hint: give another --out" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", "L3.N80", "-m", "shout"), "unknown method 'shout'"),
        (("-n", "L3.N80", "--level", "0"), "levels are rates above 0"),
        (("-n", "L3"), "L3"),
        (("-n", "L99.N0"), "L99.N0 is not in"),
    ],
)
def test_what_makes_no_sense_is_refused(command, arguments, message) -> None:
    refused = command("compare", "organism:switch", "-b", "language", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert "hint:" in refused.err


def test_a_screen_shows_how_well_its_neurons_detect(command, behavior) -> None:
    shown = command("screen", "organism:switch", "-b", behavior, "-m", "contrastive", "--detection", "--json")
    rows = shown.json()
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1 for row in rows)
    # What contrast finds on other prompts tells these apart, in the direction of its sign.
    assert all((row["auc"] - 0.5) * row["sign"] > 0.2 for row in rows[:5])
    table = command("screen", "organism:switch", "-b", behavior, "-m", "contrastive", "--detection", "--top", "3")
    assert "AUC on evaluate" in table.out
