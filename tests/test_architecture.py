"""The house: no module imports from a row above its own, none is in a circle, none holds two concepts."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "controlwindow"
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
LONGEST = 400
MODULES = {".".join(p.relative_to(SOURCE).with_suffix("").parts): p for p in SOURCE.rglob("*.py")}


def rows() -> dict[str, int]:
    """The row of every folder, from the table of the page."""
    found = {}
    for number, folders in re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE):
        found |= {name: int(number) for name in re.findall(r"`(\w+)`", folders)}
    return found


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports, as dotted names without the package's own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("controlwindow"):
            base = node.module.removeprefix("controlwindow").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix(".")
                found.add(whole if whole in MODULES or f"{whole}.__init__" in MODULES else base)
    return found


def test_the_page_has_a_row_for_every_folder():
    folders = {name.partition(".")[0] for name in MODULES} - {"__init__", "__main__"}
    assert folders == set(rows())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_from_rows_below_its_own(name):
    own, of = name.partition(".")[0], rows()
    if own in ("__init__", "__main__"):
        return
    for imported in imports(MODULES[name]):
        other = imported.partition(".")[0]
        if other not in ("", own):
            assert of[other] < of[own], f"{name} imports {imported}"


def test_no_import_goes_in_a_circle():
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        for imported in imports(path):
            arrows[name].add(imported if imported in MODULES else f"{imported}.__init__".removeprefix("."))
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join((*way[way.index(name) :], name))}"
        if name not in done:
            for other in sorted(arrows[name]):
                walk(other, (*way, name))
            done.add(name)

    for name in sorted(MODULES):
        walk(name, ())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_module_holds_two_concepts(name):
    assert len(MODULES[name].read_text("utf-8").splitlines()) <= LONGEST


def test_instruments_see_no_cards_of_organisms():
    seen = {name for name in MODULES if name.startswith("instruments.") and "catalogue" in imports(MODULES[name])}
    assert seen == set()


@pytest.mark.parametrize("package", ["instruments", "cells", "screens", "measuring"])
def test_no_function_imports_to_dodge_a_circle(package: str) -> None:
    for path in (SOURCE / package).rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        inner = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and n not in tree.body]
        assert inner == [], path
