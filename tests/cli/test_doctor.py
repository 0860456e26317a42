"""What is said of the machine and of what is kept on it, and pages that open themselves."""

from __future__ import annotations

import json
import webbrowser
from types import SimpleNamespace

import pytest
import torch

from controlwindow.cli import runs as run_commands
from controlwindow.cli.app import _Commands, app
from controlwindow.models import kept
from controlwindow.models.kept import _write


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "kept"))
    about = {"what": "generic pass", "seconds": 3.0}
    _write(tmp_path / "kept" / "one" / "generic-pass-1.safetensors", torch.ones(3), {**about, "model": "organism:a"})
    _write(tmp_path / "kept" / "two" / "generic-pass-2.safetensors", torch.ones(3), {**about, "model": "organism:b"})
    return tmp_path / "kept"


def test_what_is_kept_is_listed_and_cleared_by_model(command, cache):
    rows = command("cache", "list", "--json").json()
    assert [(row["model"], row["what"], row["seconds"]) for row in rows] == [
        ("organism:a", "generic pass", 3.0),
        ("organism:b", "generic pass", 3.0),
    ]
    assert "2 files" in command("cache", "list").out
    cleared = command("cache", "clear", "--model", "organism:a", "--json").json()
    assert cleared == {"removed": 1, "bytes": rows[0]["size"]}
    assert sorted(path.name for path in cache.iterdir()) == ["two"], "a folder that holds nothing goes too"
    assert command("cache", "clear").out.startswith("removed 1 files")
    assert command("cache", "list", "--json").json() == []


def test_the_doctor_describes_machine_cache_and_model(command, cache):
    found = command("doctor", "organism:switch", "--json")
    document = found.json()
    assert found.code == 0
    assert document["cache"] == {
        "directory": str(cache), "files": 2, "bytes": document["cache"]["bytes"], "variable": kept.VARIABLE,
    }  # fmt: skip
    assert document["machine"]["threads"] == torch.get_num_threads()
    model = document["model"]
    assert (model["error"], model["layers"], model["neurons_total"]) == (None, 8, 3072)
    assert model["rendered"]


def test_the_doctor_says_why_a_model_cannot_be_used(command, cache, tmp_path):
    found = command("doctor", tmp_path / "nothing")
    assert found.code == 1
    assert "cannot be used: " in found.out
    assert "hint: " in found.out
    assert "in " + str(cache) in " ".join(found.out.split())


def test_a_shell_is_offered_names_without_any_command_being_imported(monkeypatch):
    imported = []
    monkeypatch.setattr("controlwindow.cli.app.import_module", imported.append)
    from typer.main import get_command

    group = get_command(app)
    assert isinstance(group, _Commands)
    offered = group.shell_complete(group.context_class(group, info_name="controlwindow"), "au")
    assert [item.value for item in offered] == ["audit"]
    assert imported == []


def test_a_page_is_opened_when_it_is_asked_for(command, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("page")
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or True)
    monkeypatch.setattr(run_commands, "api", SimpleNamespace(draw_report=lambda *_, **__: page))
    assert json.loads(command("report", tmp_path, "--open", "--json").out)["report"] == str(page)
    assert opened == [page.as_uri()]
    assert command("report", tmp_path).out.strip() == str(page)
    assert len(opened) == 1


def test_nothing_is_measured_where_there_would_be_no_page_to_open(command):
    found = command("window", "organism:switch", "-b", "refusal", "-n", "L3.N7", "--open")
    assert found.code == 2
    assert "add --out DIR" in found.err
