"""Who imports whom: no circle anywhere, and instruments that know neither cells, nor screens, nor organism cards."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import controlwindow

ROOT = Path(controlwindow.__file__).parent
ABOVE_INSTRUMENTS = ("catalogue", "cells", "screens", "measuring", "windows", "circuits", "runs", "jobs", "report")


def imports() -> dict[str, set[str]]:
    """Modules of the package by name, with those that each imports when it is itself imported."""
    modules = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {one if one in modules else node.module for one in whole} & modules.keys()
    return found


def test_no_module_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def seen_by(package: str, others: tuple[str, ...]) -> set[tuple[str, str]]:
    """Imports of a package's modules that reach into some others."""
    return {
        (module, imported)
        for module, found in imports().items()
        for imported in found
        if module.split(".")[1:2] == [package] and imported.split(".")[1:2] in [[other] for other in others]
    }


def test_instruments_see_nothing_that_is_made_of_them() -> None:
    assert seen_by("measuring", ("instruments",)), "the test reads no imports"
    assert seen_by("instruments", ABOVE_INSTRUMENTS) == set()


def test_measuring_sees_no_run() -> None:
    assert seen_by("measuring", ("runs", "jobs", "report")) == set()


@pytest.mark.parametrize("package", ["instruments", "cells", "screens", "measuring"])
def test_no_function_imports_to_dodge_a_circle(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        inner = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and n not in tree.body]
        assert inner == [], path
