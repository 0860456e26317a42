"""`guide`: the pages of docs/, by the names that hints give."""

from __future__ import annotations

from pathlib import Path

import pytest

import controlwindow
from controlwindow.cli.guide import guide_pages
from controlwindow.errors import UsageError

DOCS = Path(__file__).parents[2] / "docs"


def test_it_lists_every_page_with_its_title(command):
    outcome = command("guide", "--json")
    assert {row["name"] for row in outcome.json()} == {path.stem for path in DOCS.glob("*.md")}
    assert {"name": "units", "title": "Units for every vector"} in outcome.json()
    assert "units" in command("guide").out


@pytest.mark.parametrize("name", ["behaviors", "docs/behaviors.md"])
def test_a_page_is_its_text(command, name):
    assert command("guide", name).out == (DOCS / "behaviors.md").read_text("utf-8")


def test_a_page_that_is_not_there_is_said_with_the_closest(command):
    outcome = command("guide", "behaviours")
    assert "the guide has no page 'behaviours'" in outcome.err
    assert "did you mean 'behaviors'?" in outcome.err
    assert "controlwindow guide lists them" in command("guide", "zzz").err


def test_an_installed_package_reads_its_own(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "controlwindow"
    (package / "guide").mkdir(parents=True)
    monkeypatch.setattr(controlwindow, "__file__", str(package / "__init__.py"))
    with pytest.raises(UsageError, match="this installation has no guide"):
        guide_pages()
    (package / "guide" / "gate.md").write_text("# A gate\n", "utf-8")
    assert guide_pages() == {"gate": package / "guide" / "gate.md"}
