from __future__ import annotations

import json

import pytest

from controlwindow.cli.estimating import parse_duration
from controlwindow.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("0.5h", 1800), ("2 min", 120), ("1H", 3600)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "5x", "1h-3m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


def test_an_estimate_stops_before_the_work(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = command("audit", "organism:switch", "-b", "language", "--top", 1, "--estimate", "--json")
    assert found.code == 0
    said = json.loads(found.out)
    assert said["seconds"] == pytest.approx(sum(part["seconds"] for part in said["parts"]), rel=1e-4)
    assert said["rollouts"] == sum(part["rollouts"] for part in said["parts"])
    assert said["given_up"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_is_no_duration_is_refused_before_anything_is_loaded(command, tmp_path):
    found = command("audit", tmp_path / "nothing", "-b", "language", "--budget", "soon")
    assert found.code == 2
    assert "'soon' is not a duration" in found.err
