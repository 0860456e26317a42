"""A ledger's files: whole when closed, read where nobody may write, and one clear error for each way to lack pages."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
import tempfile
import traceback
from contextlib import closing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger, make_directory
from small_ledgers import OPEN, SECRET, a_cell, rows_of, write_ledger
from torture.children import run_child

NOBODY = 65534


def as_reader(check) -> None:
    """Run a check in a process that may not write what this one wrote; a user of the system is always one."""
    child = os.fork()
    if not child:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def open_path():
    """A directory that other users may reach, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        for path in directory.rglob("*"):
            path.chmod(0o700)


def lock_up(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)


def test_a_closed_ledger_is_one_whole_file(tmp_path):
    path = write_ledger(tmp_path / "run" / "ledger.sqlite")
    assert {p.name for p in path.parent.iterdir()} == {"ledger.sqlite", "completions.sqlite"}
    for name in ("ledger.sqlite", "completions.sqlite"):
        assert path.with_name(name).read_bytes()[18:20] == b"\x01\x01", "no -wal is looked for"
    shutil.copy(path, tmp_path / "ledger.sqlite")
    with Ledger(tmp_path / "ledger.sqlite") as copy:
        assert copy.rows(a_cell(OPEN, 0.1)) == rows_of(a_cell(OPEN, 0.1))


def test_a_finished_run_is_read_where_nobody_may_write(open_path):
    path = write_ledger(open_path / "run" / "ledger.sqlite")
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    lock_up(path.parent)

    def check() -> None:
        with Ledger(path) as ledger:
            ledger.lock()
            assert ledger.rows(a_cell(OPEN, 0.1)) == rows_of(a_cell(OPEN, 0.1))
            assert ledger.completions(a_cell(SECRET, 0.1)) is not None
            assert ledger.remember("plan", "audit", dict) == {"seed": 7}
            with pytest.raises(LedgerError, match="cannot be written") as caught:
                ledger.record("x", "y", 1)
            assert "copy the run directory" in caught.value.hint

    as_reader(check)
    path.parent.chmod(0o700)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_a_killed_run_that_another_closed_is_read_where_nobody_may_write(open_path):
    path = write_ledger(open_path / "run" / "ledger.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    lock_up(path.parent)

    def check() -> None:
        with Ledger(path) as ledger:
            assert ledger.find("plan", "audit") == {"seed": 7}

    as_reader(check)


def killed(path: Path) -> Path:
    """A ledger whose process was killed after its plan."""

    def work() -> None:
        ledger = Ledger(path, create=True)
        ledger.lock()
        ledger.record("plan", "audit", {"seed": 8})
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_child(work, limit=60).code == -signal.SIGKILL
    assert path.with_name("ledger.sqlite-wal").stat().st_size
    return path


def test_latest_pages_that_would_have_to_be_written_are_one_error(open_path):
    path = killed(open_path / "run" / "ledger.sqlite")
    lock_up(path.parent)

    def check() -> None:
        with pytest.raises(LedgerError, match="latest pages in ledger") as caught:
            Ledger(path)
        assert "copy the run directory" in caught.value.hint

    as_reader(check)


def test_a_killed_run_is_read_and_left_as_one_whole_file(tmp_path):
    path = killed(tmp_path / "ledger.sqlite")
    with Ledger(path) as ledger:
        assert ledger.find("plan", "audit") == {"seed": 8}
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_a_copy_without_its_latest_pages_says_so(tmp_path, caplog):
    path = killed(tmp_path / "run" / "ledger.sqlite")
    shutil.copy(path, tmp_path / "ledger.sqlite")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.find("plan", "audit") is None
    (said,) = caplog.messages
    assert "no ledger.sqlite-wal is beside it" in said
    caplog.clear()
    with Ledger(path):
        pass
    assert caplog.messages == []


def test_a_copy_of_an_earlier_version_without_all_its_pages_says_so(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    with pytest.raises(LedgerError, match="which is not beside it") as caught:
        Ledger(path)
    assert "copy ledger.sqlite-wal too" in caught.value.hint


def test_a_run_that_ended_before_its_plan_says_so_and_is_begun_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with pytest.raises(LedgerError, match="before its plan was written") as caught:
        Ledger(path)
    assert "start it again" in caught.value.hint
    with Ledger(path, create=True) as ledger:
        assert ledger.find_all("plan") == {}


def begin(path: Path, together: Barrier, said: SimpleQueue, over: Event) -> None:
    together.wait()
    try:
        with Ledger(path, create=True) as ledger:
            ledger.lock()
            said.put("mine")
            over.wait()
    except LedgerError as error:
        said.put(error.message)


def test_of_runs_begun_at_once_one_goes_on_and_the_others_are_told(tmp_path):
    path = tmp_path / "run" / "ledger.sqlite"
    forked = multiprocessing.get_context("fork")
    together, said, over = forked.Barrier(3), forked.SimpleQueue(), forked.Event()
    begun = [forked.Process(target=begin, args=(path, together, said, over)) for _ in range(3)]
    for process in begun:
        process.start()
    heard = sorted(said.get() for _ in begun)
    over.set()
    for process in begun:
        process.join()
    assert heard == [f"another process is running {path.parent}"] * 2 + ["mine"]


@pytest.mark.parametrize("umask", [0, 0o077])
def test_nobody_else_may_write_a_run_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_ledger(tmp_path / "a" / "b" / "ledger.sqlite")
        with Ledger(tmp_path / "a" / "b" / "ledger.sqlite", create=True) as ledger:
            ledger.record("x", "y", 1)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a").rglob("*")}
        modes["a"] = stat.S_IMODE((tmp_path / "a").stat().st_mode)
    finally:
        os.umask(before)
    expected = {"a": 0o755, "b": 0o755, "ledger.sqlite": 0o644, "ledger.sqlite-wal": 0o644, "ledger.sqlite-shm": 0o644}
    assert modes == {name: mode & ~umask for name, mode in expected.items()} | {"completions.sqlite": 0o600}


def test_directories_that_are_there_keep_their_mode(tmp_path):
    (tmp_path / "a").mkdir(mode=0o700)
    make_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    make_directory(tmp_path / "a" / "b")


def test_a_foreign_database_keeps_its_journal(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="something else"):
        Ledger(path, create=True)
    assert path.read_bytes() == before
