"""What the wheel carries, by the patterns of pyproject.toml: the package and the default organism, no other one."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import controlwindow
from controlwindow.catalogue import DEFAULT_ORGANISM

ROOT = Path(__file__).resolve().parents[1]
ORGANISMS = Path("src/controlwindow/organisms")


def in_wheel(paths: list[str]) -> set[str]:
    """Paths that hatchling would take, which reads its patterns as git does."""
    pathspec = pytest.importorskip("pathspec")
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    left_out = pathspec.GitIgnoreSpec.from_lines(wheel["exclude"])
    return {path for path in paths if path.startswith(tuple(wheel["only-include"])) and not left_out.match_file(path)}


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


def test_the_wheel_carries_the_pages_of_the_guide_and_nothing_else_of_docs():
    every = [str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*") if p.is_file()]
    assert in_wheel(every) == {f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sources["sources"] == {"src/controlwindow": "controlwindow", "docs": "controlwindow/guide"}


def texts(path: Path) -> list[str]:
    """Every string of a module that a user may be shown: all but its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in strings if id(node) not in told]


def test_what_a_user_is_told_names_pages_that_every_installation_has():
    """A hint that names a file of docs/ is of no use beside a wheel; `controlwindow guide` is there."""
    said = [(p, text) for p in sorted((ROOT / "src" / "controlwindow").rglob("*.py")) for text in texts(p)]
    assert [(p.name, text) for p, text in said if re.search(r"docs/\w+\.md|examples/", text)] == []
    # "controlwindow guide lists them" is a sentence and no page.
    named = {page for _, text in said for page in re.findall(r"(?:controlwindow |see `)guide ([a-z]+)", text)} - {
        "lists"
    }
    assert {"behaviors", "gate", "organisms", "architectures", "circuits"} <= named
    assert named <= {p.stem for p in (ROOT / "docs").glob("*.md")}


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)[1]
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[1]
    assert {project["version"], cited, newest} == {controlwindow.__version__}


def description() -> str:
    """The README as the wheel's metadata have it."""
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["metadata"]["hooks"]
    settings = hook["fancy-pypi-readme"]
    text = "".join((ROOT / part["path"]).read_text("utf-8") for part in settings["fragments"])
    for substitution in settings["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    return text


def test_nothing_on_an_index_page_leads_to_a_file_beside_it():
    text = description()
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", text) == []
    assert "![" not in text
    assert "Can one neuron flip it?" in text
    assert "docs/definitions.md" in text, "a link's words stay"


def test_links_of_the_readme_lead_to_files_there_are():
    targets = re.findall(r"\]\((?!https://|#)([^)#]*)", (ROOT / "README.md").read_text("utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
