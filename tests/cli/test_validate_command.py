"""The command validate: what is wrong is said before a model is loaded."""

from __future__ import annotations

import pytest


def test_help_has_an_example(command):
    shown = command("validate", "--help")
    assert shown.code == 0
    assert "Example: controlwindow validate organism:switch" in " ".join(shown.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["organism:nobody"], "unknown organism"),
        (["organism:switch", "--screen", "none"], "unknown screen"),
        (["organism:switch", "--tier", "7"], "unknown tier"),
        (["organism:switch", "--behavior", "nowhere.toml"], "nowhere.toml"),
        (["organism:switch", "--prompts", "4"], "--prompts"),
    ],
)
def test_mistakes_end_with_code_2_and_write_nothing(command, tmp_path, arguments, message):
    out = tmp_path / "run"
    shown = command("validate", *arguments, "--out", out)
    assert shown.code == 2
    assert message in shown.err
    assert not shown.out
    assert not out.exists()
