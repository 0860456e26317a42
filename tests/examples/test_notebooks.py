"""The notebooks: without outputs in the repository, and every cell runs here, in this process, on the organism."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "notebook.md"
NAMES = ("audit", "live_dose", "screens_and_circuits")


def cells(name: str) -> list[dict]:
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]


def run(name: str, directory: Path, monkeypatch) -> list:
    """Every code cell in turn, in one namespace; what the last expression of each gives."""
    monkeypatch.chdir(directory)
    names, shown = {"__name__": "__main__"}, []
    for number, cell in enumerate(cells(name)):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}, cell {number}", "exec"), names)
        shown.append(None if last is None else eval(compile(last, f"{name}, cell {number}", "eval"), names))
    return shown


def test_the_guide_names_the_notebooks_there_are():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)
    assert all(f"`{name}.ipynb`" in PAGE.read_text("utf-8") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_run_is_kept_in_it(name):
    document = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))
    assert (document["nbformat"], document["metadata"]["language_info"]) == (4, {"name": "python"})
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])


def test_the_audit(tmp_path, monkeypatch):
    shown = run("audit", tmp_path, monkeypatch)
    table = next(value for value in shown if hasattr(value, "columns") and "verdict" in value.columns)
    assert sorted(table["verdict"].to_list()) == ["closed", "open"]
    assert (tmp_path / "runs" / "first" / "report.html").exists()
    assert shown[-1] == table["verdict"].to_list()


def test_the_live_dose(tmp_path, monkeypatch, capsys):
    pytest.importorskip("anywidget", reason="the notebook extra is not installed")
    shown = run("live_dose", tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    texts = dict(line.split(" | ", 1) for line in lines)
    assert list(texts) == ["undosed", "t 0.25", "t 0.5", "t 1", "t 4"]
    assert len(set(texts.values())) >= 3, "doses change the text"
    assert texts["t 0.5"] in shown, "generate under cw.dosed writes what the rollout wrote"


@pytest.mark.slow
def test_screens_and_circuits(tmp_path, monkeypatch):
    shown = run("screens_and_circuits", tmp_path, monkeypatch)
    ranks = next(value for value in shown if hasattr(value, "columns") and value.columns == ["screen", "rank"])
    found = dict(ranks.iter_rows())
    assert found["gradient"] == 1 < found["contrastive"]
    assert "controlled" in shown[-1]
