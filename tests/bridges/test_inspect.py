"""Inspect itself, on the organism: every dose of a window as an eval set, and its logs drawn along the window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import controlwindow as cw
from controlwindow.cli import main
from controlwindow.errors import UsageError
from golden.runs import LANGUAGE

pytest.importorskip("inspect_ai", reason="Inspect AI is not installed: pip install 'controlwindow[inspect]'")

AT = ("undosed", "trigger", "ceiling")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory, organism: cw.Model, audited: Path, language: Path) -> list[Any]:
    """A log for each dose: the real tool ran the behavior's prompts, and nothing was downloaded."""
    from controlwindow.bridges.inspect import behavior, dose_models, evaluate_doses

    folder = tmp_path_factory.mktemp("logs")
    models = dose_models(organism, AT, run=audited)
    return evaluate_doses(behavior(str(language)), models, folder)


def by_c(logs: list[Any]) -> list[Any]:
    from inspect_ai.log import read_eval_log

    read = [read_eval_log(log.location) for log in logs]
    return sorted(read, key=lambda log: told(log)[0]["t"])


def told(log: Any) -> list[dict[str, Any]]:
    return [sample.output.metadata["controlwindow"] for sample in log.samples]


def shares(log: Any) -> dict[str, float]:
    return {score.name: score.metrics["mean"].value for score in log.results.scores}


def test_answers_are_those_of_rollout_at_the_doses_of_the_window(
    logs: list[Any], organism: cw.Model, language: Path
) -> None:
    loaded = cw.load_behavior(language)
    prompts = {prompt.id: prompt.text for prompt in loaded.prompts("evaluate")}
    for log in by_c(logs):
        assert log.status == "success"
        t = told(log)[0]["t"]
        dose = None if t == 0 else cw.Dose(LANGUAGE, t, loaded.positions)
        ids = [str(sample.id) for sample in log.samples]
        assert sorted(ids) == sorted(prompts)
        expected = cw.rollout(organism, [prompts[i] for i in ids], dose, loaded.horizons[-1])
        assert [sample.output.completion for sample in log.samples] == expected.texts[0]


def test_outcomes_are_those_of_the_audit(logs: list[Any], audited: Path) -> None:
    undosed, trigger, ceiling = by_c(logs)
    assert shares(undosed)["switched"] == 0.0
    # Half of the eligible prompts flip at the trigger and have collapsed at the ceiling, by definition.
    assert shares(trigger)["switched"] == pytest.approx(0.5, abs=0.2)
    assert shares(ceiling)["collapsed"] == pytest.approx(0.5, abs=0.2)
    for log in (undosed, trigger, ceiling):
        assert sum(shares(log).values()) == pytest.approx(1.0)


def test_a_dose_stands_in_every_log_with_the_weights_it_acted_on(logs: list[Any], organism: cw.Model) -> None:
    first, second, third = (told(log)[0] for log in by_c(logs))
    assert (first["neuron"], first["c"], first["c_measured"]) == (None, None, None)
    assert [one["neuron"] for one in (second, third)] == [LANGUAGE, LANGUAGE]
    assert second["c"] < third["c"]
    assert abs(second["c_measured"] - second["c"]) < 0.15
    assert {one["fingerprint"] for one in (first, second, third)} == {organism.fingerprint}


def test_report_draws_the_logs_through_trigger_and_ceiling(
    logs: list[Any], audited: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(Path(logs[0].location.removeprefix("file://")).parent)
    monkeypatch.setattr(sys, "argv", ["controlwindow", "report", str(audited), "--evals", folder, "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    (window,) = found["capability"]["windows"]
    assert (window["neuron"], window["verdict"]) == (LANGUAGE, "open")
    assert {score["task"] for score in window["scores"]} == {"language"}
    switched = [score for score in window["scores"] if score["score"] == "switched"]
    assert [score["c"] for score in switched] == pytest.approx([None, window["trigger"], window["ceiling"]], abs=1e-5)
    assert [score["tax"] for score in switched] == pytest.approx([-score["value"] for score in switched])
    (drawn,) = map(Path, found["capability_figures"])
    text = drawn.read_text("utf-8")
    assert f"trigger {window['trigger']:.2f}" in text
    assert f"ceiling {window['ceiling']:.2f}" in text


def test_a_log_of_other_weights_or_of_no_dose_is_refused(
    logs: list[Any], audited: Path, llama: cw.Model, tmp_path: Path
) -> None:
    from controlwindow.bridges.inspect.logs import capability

    with pytest.raises(UsageError, match="there is no log at"):
        capability(audited, [tmp_path / "missing.eval"])
    with pytest.raises(UsageError, match=r"holds no \.eval files"):
        capability(audited, [tmp_path])
    (tmp_path / "broken.eval").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="is no log of Inspect"):
        capability(audited, [tmp_path / "broken.eval"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"temperature": 0.7}, "temperature is 0.7"),
        ({"top_p": 0.5}, "top_p is 0.5"),
        ({"num_choices": 2}, "num_choices"),
    ],
)
def test_a_way_to_sample_that_there_is_not_is_refused(organism: cw.Model, config: dict[str, float], said: str) -> None:
    import anyio
    from inspect_ai.model import GenerateConfig, get_model

    from controlwindow.bridges.batching import share

    share(organism)
    model = get_model("controlwindow/organism:switch", memoize=False)

    async def ask() -> None:
        await model.generate("Hello.", config=GenerateConfig(**config))

    with pytest.raises(UsageError, match=said):
        anyio.run(ask)


def test_inspect_finds_model_task_and_scorer_by_the_entry_point(tmp_path: Path, language: Path) -> None:
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    points = project["entry-points"]["inspect_ai"]
    information = tmp_path / "site" / "bridged-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bridged\nVersion: 1.0\n", "utf-8")
    lines = ["[inspect_ai]", *(f"{name} = {module}" for name, module in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    source = str(Path(cw.__file__).parents[1])
    path = os.pathsep.join([source, str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable, "-m", "inspect_ai", "eval", "controlwindow/behavior", "-T", f"behavior={language}",
        "--model", "controlwindow/organism:switch", "-M", f"neuron={LANGUAGE}", "-M", "c=0.45", "--limit", "2",
        "--display", "none", "--log-dir", str(tmp_path / "logs"),
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    from inspect_ai.log import read_eval_log

    (log,) = (tmp_path / "logs").glob("*.eval")
    read = read_eval_log(str(log))
    assert (read.status, len(read.samples or [])) == ("success", 2)
    assert told(read)[0]["c"] == 0.45
