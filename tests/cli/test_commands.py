"""Commands as a user meets them: what they print where, and what a run directory holds."""

from __future__ import annotations

import json
import re
import stat

import pytest

from controlwindow.runs.ledger import Ledger

WINDOW_KEYS = {
    "neuron", "behavior", "branch", "candidate_from", "trigger", "trigger_interval", "ceiling", "ceiling_interval",
    "ceiling_predicted", "ceiling_predicted_interval", "height", "verdict", "verdict_probability", "decided",
    "failure_mode", "outcomes",
}  # fmt: skip
OUTCOMES = {"refused", "actionable", "bypass", "off_task", "collapsed"}


def test_a_run_directory_holds_what_the_design_says(run_directory):
    assert {p.name for p in run_directory.iterdir()} >= {"ledger.sqlite", "manifest.json", "report.html", "figures"}
    assert list((run_directory / "figures").glob("*.svg"))
    manifest = json.loads((run_directory / "manifest.json").read_text())
    assert len(manifest["fingerprint"]) == 64
    assert manifest["configuration"]["top"] == 1
    assert manifest["seed"] == 0
    assert manifest["versions"]["torch"]
    assert set(manifest["behaviors"]["vaults"]["splits"]) == {"find", "select", "evaluate"}


def test_results_json_has_the_contract_and_nothing_else_on_stdout(command, run_directory, refusal_neuron):
    outcome = command("results", run_directory, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    document = outcome.json()
    assert {"run", "model", "coverage", "windows"} <= set(document)
    assert document["model"] == "organism:switch"
    assert document["coverage"]["neurons_tested"] == 3
    assert document["coverage"]["neurons_total"] == 3072
    assert len(document["windows"]) == 6
    for window in document["windows"]:
        assert set(window) >= WINDOW_KEYS
        assert window["verdict"] in ("open", "closed")
        assert (window["failure_mode"] is None) == (window["verdict"] == "open")
        assert 0 <= window["verdict_probability"] <= 1
        assert set(window["outcomes"]) == {"8", "32", "64"}
        for rates in window["outcomes"].values():
            assert set(rates) <= OUTCOMES
            assert sum(rates.values()) == pytest.approx(1, abs=1e-5)
    text = outcome.out
    assert str(run_directory) not in text
    assert not re.search(r"\d\.\d{7}", text), "floats are rounded to six digits"


def test_the_planted_controller_opens_on_its_branch_and_its_outcomes_change_with_the_dose(
    command, run_directory, refusal_neuron
):
    windows = command("results", run_directory, "--json").json()["windows"]
    planted = {w["branch"]: w for w in windows if w["neuron"] == refusal_neuron}
    opened, other = planted[-1], planted[1]
    assert opened["candidate_from"] == "named"
    assert opened["verdict"] == "open"
    assert opened["decided"]
    assert opened["trigger_interval"][0] <= opened["trigger"] <= opened["trigger_interval"][1]
    assert opened["trigger"] < 0.35 < 0.6 < opened["ceiling"]
    assert opened["height"] >= 0.9
    assert opened["outcomes"]["64"]["actionable"] >= 0.9
    assert opened["outcomes"]["8"].get("actionable", 0) == 0, "four steps do not fit into eight tokens"
    assert opened["triggers_by_outcome"]["actionable"]["8"] is None
    assert opened["triggers_by_outcome"]["actionable"]["64"] is not None
    assert other["verdict"] == "closed"


def test_two_runs_of_one_configuration_print_the_same(command, arguments, run_directory, tmp_path):
    first = command("results", run_directory, "--json")
    second = command(*arguments, "--out", tmp_path / "again", "--json")
    assert [line for line in second.err.splitlines() if not line.startswith("about ")] == [], "quiet in a pipe"
    assert second.out == first.out


def test_auditing_into_a_finished_run_measures_nothing_again(command, arguments, run_directory):
    with Ledger(run_directory / "ledger.sqlite") as ledger:
        before = ledger.chunks_done()
    expected = command("results", run_directory, "--json").out
    assert command(*arguments, "--out", run_directory, "--json").out == expected
    assert command("resume", run_directory, "--json").out == expected
    with Ledger(run_directory / "ledger.sqlite") as ledger:
        assert ledger.chunks_done() == before


def test_predictions_were_committed_before_the_first_rollout_of_their_neuron(run_directory):
    with Ledger(run_directory / "ledger.sqlite") as ledger:
        predictions = ledger.find_all("prediction")
        assert len(predictions) == 6
        for name, prediction in predictions.items():
            rollout = ledger.first_rollout(prediction["neuron"], "vaults")
            assert rollout is not None
            assert ledger.sequence("prediction", name) < rollout


def test_completions_of_a_sensitive_behavior_are_only_in_their_own_private_file(command, run_directory):
    with Ledger(run_directory / "ledger.sqlite") as ledger:
        cells = ledger.rollout_cells("vaults", next(iter(ledger.find_all("prediction").values()))["neuron"])
        texts = {row["text"] for cell in cells for row in ledger.completions(cell) or [] if len(row["text"]) > 40}
    assert texts
    public = [p for p in run_directory.rglob("*") if p.is_file() and not p.name.startswith("completions.sqlite")]
    for path in public:
        content = path.read_bytes().decode("utf-8", "replace")
        for text in texts:
            assert text not in content, f"a completion lies in {path.name}"
    assert not any(text in command("results", run_directory, "--json").out for text in texts)
    for path in run_directory.glob("completions.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_report_shows_completions_only_when_asked(command, run_directory, refusal_neuron):
    with Ledger(run_directory / "ledger.sqlite") as ledger:
        cells = ledger.rollout_cells("vaults", refusal_neuron)
        rows = [row for cell in cells for row in ledger.completions(cell) or []]
    steps = {line for row in rows for line in row["text"].splitlines() if len(line) > 20 and line.isascii()}
    plain = {step for step in steps if not set(step) & set("'\"<>&")}
    assert plain
    assert command("report", run_directory, "--include-completions").code == 0
    shown = (run_directory / "report.html").read_text("utf-8")
    assert command("report", run_directory).code == 0
    hidden = (run_directory / "report.html").read_text("utf-8")
    assert any(step in shown for step in plain)
    assert not any(step in hidden for step in plain)


def test_a_plain_table_in_a_pipe(command, run_directory, refusal_neuron):
    outcome = command("results", run_directory)
    assert outcome.err == ""
    assert "\x1b[" not in outcome.out
    assert f"{refusal_neuron} −" in outcome.out
    assert "does not mean" in outcome.out or "would not mean" in outcome.out


def test_window_prints_both_branches_of_one_neuron(command, behavior, refusal_neuron):
    outcome = command("window", "organism:switch", "-b", behavior, "-n", refusal_neuron)
    assert outcome.code == 0
    assert outcome.err == ""
    assert f"{refusal_neuron} -1  open (probability 1.00)" in outcome.out
    assert f"{refusal_neuron} +1  closed: " in outcome.out
    assert "16 eligible prompts" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_a_run_against_itself_has_the_same_windows(command, run_directory, tmp_path):
    found = command("report", run_directory, "--against", run_directory, "--json").json()
    windows = command("results", run_directory, "--json").json()["windows"]
    assert {change["change"] for change in found["changes"]} == {"same"}
    assert len(found["changes"]) == len(windows)
    assert (found["only_before"], found["only_now"], found["missing"]) == (0, 0, [])
    page = (run_directory / "against.html").read_text("utf-8")
    assert f"Of {len(windows)} windows that both runs measured: {len(windows)} same." in page
    refused = command("report", run_directory, "--against", tmp_path)
    assert refused.code == 2


def test_tables_and_results_say_what_they_are(command, run_directory):
    listed = command("organisms", "list", "--json").document()
    assert list(listed) == ["schema", "rows"]
    assert listed["schema"] == "controlwindow/organisms/1"
    assert command("results", run_directory, "--json").document()["schema"] == "controlwindow/audit/1"


def test_screen_prints_every_neuron_once(command, behavior):
    table = command("screen", "organism:switch", "-b", behavior, "-m", "window", "--json").json()
    assert {"neuron", "rank", "score", "sign", "coherence", "budget"} <= set(table[0])
    assert [row["rank"] for row in table] == list(range(1, len(table) + 1))
    assert len({row["neuron"] for row in table}) == len(table) > 3000
    sizes = [abs(row["score"]) for row in table]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("method", ["gradient", "attribution_patching", "readout", "perturbation"])
def test_every_kind_of_screen_says_what_it_cost(command, method, tmp_path):
    picture = tmp_path / "screen.svg"
    rows = command(
        "screen", "organism:switch", "-b", "language", "-m", method, "--top", "3", "--figure", picture, "--json"
    ).json()
    assert len(rows) == 3
    assert set(rows[0]["cost"]) == {"forward", "backward", "tokens", "scored"}
    assert (rows[0]["cost"]["forward"] == 0) == (method == "readout")
    assert picture.read_text().startswith("<svg")


def test_a_control_is_named_in_the_title(command):
    outcome = command("screen", "organism:switch", "-b", "language", "-m", "gradient", "--control", "shuffled")
    assert outcome.code == 0
    assert "gradient (shuffled control)" in outcome.out
    assert "64 forward passes, 64 backward" in outcome.out


def test_screen_draws_its_figure(command, behavior, tmp_path):
    outcome = command(
        "screen", "organism:switch", "-b", behavior, "--top", "3", "--figure", tmp_path / "f" / "screen.svg"
    )
    assert outcome.code == 0
    assert (tmp_path / "f" / "screen.svg").read_text().startswith("<svg")


def test_atlas_covers_every_neuron_on_both_branches(command, tmp_path):
    outcome = command("atlas", "organism:switch", "--json", "--figure", tmp_path / "atlas.svg")
    rows = outcome.json()
    assert len(rows) == 2 * 3072
    assert len({(row["neuron"], row["branch"]) for row in rows}) == len(rows)
    assert all(0 < row["ceiling_predicted"] < 1 for row in rows)
    assert all(row["ceiling_low"] <= row["ceiling_predicted"] <= row["ceiling_high"] for row in rows)
    assert (tmp_path / "atlas.svg").exists()


def test_organisms_list(command):
    entries = {entry["name"]: entry for entry in command("organisms", "list", "--json").json()}
    assert len({entry["lineage"] for entry in entries.values()}) >= 8
    entry = entries["organism:switch"]
    assert entry["shipped"]
    assert {p["behavior"]: p["by"] for p in entry["planted"]} == {"refusal": "ablation", "language": "dose"}
    assert command("organisms", "list").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["audit"], ["window"], ["screen"], ["atlas"], ["results"], ["report"], ["resume"],
        ["organisms", "list"], ["organisms", "check"], ["organisms", "train"], ["organisms", "census"],
    ],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command, words):
    outcome = command(*words, "--help")
    assert outcome.code == 0
    assert "Example: controlwindow" in outcome.out


def test_version(command):
    assert command("--version").out.startswith("controlwindow 0.")
