"""The shipped organism and one small audit of its language neuron, which other tools then run along."""

from __future__ import annotations

from pathlib import Path

import pytest

import controlwindow as cw
from golden.behaviors import write_behaviors
from golden.runs import LANGUAGE


@pytest.fixture(scope="session")
def organism() -> cw.Model:
    return cw.load_model("organism:switch")


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language behavior on a few prompts."""
    _, language = write_behaviors(tmp_path_factory.mktemp("behaviors"))
    return language


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, organism: cw.Model, language: Path) -> Path:
    """A run with the windows of one neuron, of which branch + is open."""
    directory = tmp_path_factory.mktemp("audited") / "run"
    cw.audit(organism, language, directory, neurons=[LANGUAGE], top=0, planted=False)
    return directory
