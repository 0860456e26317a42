"""What the command line imports: nothing heavy for a version or a typo, and every command is where the table says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import controlwindow as cw
from controlwindow.cli.app import _MODULES, app

HEAVY = ("torch", "transformers", "polars", "altair", "scipy")


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["audti"], 2), (["--no-such-option"], 2)])
def test_a_version_or_a_typo_loads_nothing_heavy(words, code):
    script = (
        "import sys\n"
        f"sys.argv = ['controlwindow', *{words!r}]\n"
        "from controlwindow.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    code = stop.code or 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"[] {code}"


@pytest.mark.parametrize("name", _MODULES)
def test_every_command_is_where_the_table_says(command, name):
    shown = command(name, "--help")
    assert shown.code == 0
    assert f"controlwindow {name}" in " ".join(shown.out.split())


def test_the_help_lists_every_command(command):
    shown = command("--help").out
    assert all(name in shown for name in _MODULES)
    assert app.info.name == "controlwindow"


def test_every_public_name_is_found_when_it_is_asked_for():
    assert all(getattr(cw, name) is not None for name in cw.__all__)
    assert set(cw.__all__) <= set(dir(cw))
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        cw.nonesuch  # noqa: B018
