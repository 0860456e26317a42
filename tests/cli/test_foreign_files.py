"""What the machine brings in the place of a file or a directory is one error in the place of a traceback or a hang."""

from __future__ import annotations

import os

import pytest

from controlwindow.behaviors.files import safe_text
from controlwindow.cli.options import read_lines
from controlwindow.errors import LedgerError, UsageError
from controlwindow.jobs.law.rescoring import rescore_file
from controlwindow.validation.entries import read_entry


@pytest.fixture(params=["pipe", "device", "folder", "huge", "nothing", "bytes", "nul"])
def odd(request, tmp_path):
    path = tmp_path / "odd.json"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "huge":
        with path.open("wb") as file:
            file.truncate(3 << 30)
    elif request.param == "bytes":
        path.write_bytes(b"\xff\x00")
    elif request.param == "nul":
        path = tmp_path / "a\0b"
    return path


def test_a_file_that_a_user_names_is_read_only_if_it_is_one(odd):
    with pytest.raises(ValueError, match=r"not a file|are read|no file|not UTF-8|not a path"):
        safe_text(odd)


@pytest.mark.parametrize(
    ("read", "error"),
    [(lambda p: read_lines(p, "prompts"), UsageError), (read_entry, UsageError), (rescore_file, LedgerError)],
)
def test_every_reader_says_so_with_its_own_error(odd, read, error):
    with pytest.raises(error) as caught:
        read(odd)
    assert caught.value.hint


@pytest.mark.parametrize("read", [read_entry, rescore_file])
def test_json_nested_too_deep_is_one_error(tmp_path, read):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises((UsageError, LedgerError)):
        read(path)


@pytest.mark.parametrize("name", ["results", "report", "resume"])
def test_a_path_that_no_file_system_has_is_one_error(command, name):
    shown = command(name, "x" * 5000)
    assert shown.code == 2
    assert shown.err.startswith("error: no run directory at xxx")
    assert "File name too long" in shown.err


def test_what_the_machine_refuses_is_one_error(command, monkeypatch):
    def refuse(*_given, **_options):
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr("controlwindow.cli.runs.show_run", refuse)
    shown = command("results", "x")
    assert (shown.code, shown.err.splitlines()[0]) == (2, "error: No space left on device (/some/file)")
