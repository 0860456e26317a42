"""Throw-away distributions with entry points, as an installer leaves them, and the examples of the documentation."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"


def examples() -> dict[str, str]:
    """The documentation's modules by file name, which the first line of each states."""
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return {block.split("\n", 1)[0].removeprefix("# "): block for block in blocks}


def example_entry_points() -> dict[str, dict[str, str]]:
    """The documentation's entry points, by group."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    found: dict[str, dict[str, str]] = tomllib.loads(block)["project"]["entry-points"]
    return found


def install(
    folder: Path,
    patch: pytest.MonkeyPatch,
    name: str,
    modules: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
) -> None:
    """Put a distribution on the path until the test is over; its modules are forgotten then."""
    information = folder / f"{name}-1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", "utf-8")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    for file, text in modules.items():
        (folder / file).write_text(text, "utf-8")
        # Set and deleted again, so that the module is forgotten with the test.
        patch.setitem(sys.modules, file.removesuffix(".py"), None)
        patch.delitem(sys.modules, file.removesuffix(".py"))
    patch.syspath_prepend(folder)
