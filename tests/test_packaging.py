"""What the wheel carries, by the patterns of pyproject.toml: the package and the default organism, no other one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from controlwindow.catalogue import DEFAULT_ORGANISM

ROOT = Path(__file__).resolve().parents[1]
ORGANISMS = Path("src/controlwindow/organisms")


def in_wheel(paths: list[str]) -> set[str]:
    """Paths that hatchling would take, which reads its patterns as git does."""
    pathspec = pytest.importorskip("pathspec")
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    left_out = pathspec.GitIgnoreSpec.from_lines(wheel["exclude"])
    return {path for path in paths if path.startswith(tuple(wheel["packages"])) and not left_out.match_file(path)}


def test_the_wheel_carries_every_module_and_the_default_organism_alone():
    every = [str(p.relative_to(ROOT)) for p in (ROOT / "src" / "controlwindow").rglob("*") if p.is_file()]
    every = [path for path in every if "__pycache__" not in path]
    taken = in_wheel(every)
    default = DEFAULT_ORGANISM.partition(":")[2]
    organisms = {path for path in every if Path(path).is_relative_to(ORGANISMS) and len(Path(path).parts) == 5}
    of_organisms = {path for path in organisms if Path(path).parts[3] != "training"}
    assert {Path(path).parts[3] for path in taken & of_organisms} == {default}
    assert taken >= {path for path in of_organisms if Path(path).parts[3] == default}
    assert taken >= {path for path in every if path.endswith(".py")}
    assert taken >= {path for path in every if "/library/" in path or "/templates/" in path}
    assert taken >= {path for path in every if "/static/" in path}


def test_another_organism_stays_out_whatever_files_it_has():
    other = [str(ORGANISMS / "other" / name) for name in ("card.json", "model.safetensors", "tokenizer.json")]
    assert in_wheel(other) == set()
    assert in_wheel([str(ORGANISMS / "switch" / "model.safetensors")])
