"""The Dockerfile, read as a builder would: what it copies is there, and it installs as the guide says."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "howto" / "install.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def of(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def test_it_begins_with_a_python_that_the_package_takes():
    (base,) = of("FROM")
    assert instructions()[0][0] == "FROM"
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", base).groups()))
    lowest = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert version >= lowest


def test_everything_that_is_copied_is_there_and_reaches_the_builder():
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text("utf-8").split() if line[0] == "!"}
    copied = [source for rest in of("COPY") for source in rest.split()[:-1]]
    assert set(copied) == kept
    assert all((ROOT / source).exists() for source in copied)
    # What the build of the wheel reads: its readme, its licence, its sources and the pages that it carries.
    assert {"pyproject.toml", "README.md", "LICENSE", "src", "docs"} <= set(copied)


def test_it_installs_as_the_guide_says():
    (install,) = [rest for rest in of("RUN") if rest.startswith("pip ")]
    words = [word for word in shlex.split(install) if word != "--no-cache-dir"]
    documented = re.findall(r"^\$ (pip install .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    said = shlex.split(documented[0])
    target, extras = re.fullmatch(r"(.*?)(?:\[(.*)\])?", words.pop()).groups()
    assert [*words, target] == said
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_guide_names_every_extra():
    table = set(re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert table == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("shell", of("RUN"))
def test_its_shell_can_be_read(shell):
    assert subprocess.run(["sh", "-n", "-c", shell], capture_output=True, text=True).stderr == ""


def test_it_runs_the_command_and_as_nobody_special():
    assert of("ENTRYPOINT") == ['["controlwindow"]']
    assert "controlwindow" in PROJECT["scripts"]
    order = [name for name, _ in instructions()]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert of("USER") != ["root"]
