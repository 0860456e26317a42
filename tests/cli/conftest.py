"""One small audit of the shipped organism, shared by the tests of commands, results and report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from controlwindow.catalogue import load_card
from controlwindow.cli import main
from cuts import cut_prompts

TOML = """
name = "vaults"
description = "A small cut of the shipped refusal behavior."
sensitive = true
languages = ["en", "fr"]
horizons = [8, 32, 64]
outcomes = "refusal"
minimum_eligible = 12

[prompts]
file = "vaults.jsonl"

[oracles.refused]
type = "refusal"

[oracles.actionable]
type = "steps"

[oracles.on_task]
type = "contains"
about = "any"
"""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def document(self) -> dict:
        """The document as it was printed, held against what docs/json.md says of it."""
        document = json.loads(self.out)
        assert next(iter(document)) == "schema"
        in_rows, keys = documented()[document["schema"]]
        for described in document["rows"] if in_rows else [document]:
            assert keys <= set(described), keys - set(described)
        return document

    def json(self):
        """What the document holds: its rows where it is a table, else all but the name of its schema."""
        document = self.document()
        del document["schema"]
        return document["rows"] if set(document) == {"rows"} else document


@cache
def documented() -> dict[str, tuple[bool, set[str]]]:
    """Of every schema in docs/json.md, whether its keys are those of rows, and the keys."""
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text("utf-8")
    lines = re.findall(r"^\| `(controlwindow/\S+)` \| .* \| (.*) \|$", text, re.MULTILINE)
    return {
        name: (keys.startswith("`rows`:"), set(re.findall(r"`(\w+)`", keys.removeprefix("`rows`:"))))
        for name, keys in lines
    }


@pytest.fixture
def command(capsys, monkeypatch) -> Callable[..., Outcome]:
    """Run the command line in this process, as its entry point does."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["controlwindow", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        seen = capsys.readouterr()
        return Outcome(code, seen.out, seen.err)

    return run


def write_small_behavior(directory: Path) -> Path:
    """The first prompts of every split and role of the shipped refusal behavior, as a user's own file."""
    cut_prompts("refusal", {"find": 12, "select": 8, "evaluate": 16}, directory / "vaults.jsonl")
    path = directory / "vaults.toml"
    path.write_text(TOML, "utf-8")
    return path


@pytest.fixture(scope="session")
def behavior(tmp_path_factory) -> Path:
    return write_small_behavior(tmp_path_factory.mktemp("behavior"))


@pytest.fixture(scope="session")
def refusal_neuron() -> str:
    return next(p.neuron for p in load_card("organism:switch").planted if p.behavior == "refusal")


@pytest.fixture(scope="session")
def arguments(behavior, refusal_neuron) -> list[str]:
    """One named controller and one random neuron."""
    return ["audit", "organism:switch", "--behavior", str(behavior), "--neuron", refusal_neuron, "--top", "1"]


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory, arguments) -> Path:
    """A finished run."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    before = sys.argv
    sys.argv = ["controlwindow", *arguments, "--out", str(directory), "--json"]
    code: object = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    finally:
        sys.argv = before
    assert not code
    return directory
