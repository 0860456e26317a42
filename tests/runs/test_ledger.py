"""The ledger: whole chunks only, order of events, separate completions, and one clear error for each way to fail."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controlwindow.cells import PinCell, PropagationCell, RolloutCell, cell_from_key, cell_key
from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger


def a_cell(t: float = 0.5, neuron: str | None = "L0.N1") -> RolloutCell:
    return RolloutCell("b", "evaluate", neuron, -1, t, -t, "all", 8, ("p1", "p2"))


def rows_of(cell: RolloutCell) -> list[dict]:
    return [{"prompt": p, "outcomes": {"8": "refused"}, "text": f"{p} at {cell.t}", "token_ids": [1, 2]} for p in "ab"]


def test_cells_come_back_from_their_keys():
    for cell in (a_cell(), a_cell(neuron=None), PropagationCell("b", "evaluate", "L0.N1", 1, 0.5, 2.0, "all", ("x",))):
        assert cell_from_key(cell_key(cell)) == cell
        assert json.loads(cell_key(cell))[0] == type(cell).__name__


def test_a_planned_chunk_has_no_rows_until_it_is_committed(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        (chunk,) = ledger.plan("s", [[a_cell(0.1), a_cell(0.2)]])
        assert ledger.rows(a_cell(0.1)) is None
        assert ledger.pending("s") == [chunk]
        ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells})
        assert ledger.pending("s") == []
        assert ledger.rows(a_cell(0.2)) == rows_of(a_cell(0.2))
        assert ledger.chunks_done() == 1
    with Ledger(tmp_path / "ledger.sqlite") as again:
        assert again.rows(a_cell(0.1)) == rows_of(a_cell(0.1))


def test_a_failing_commit_leaves_nothing_of_the_chunk(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        (chunk,) = ledger.plan("s", [[a_cell(0.1), a_cell(0.2)]])
        with pytest.raises(KeyError):
            ledger.commit(chunk, {a_cell(0.1): rows_of(a_cell(0.1))})
        with pytest.raises(LedgerError, match="not a finite number"):
            ledger.commit(chunk, {cell: [{"x": float("nan")}] for cell in chunk.cells})
        assert ledger.rows(a_cell(0.1)) is None
        assert ledger.pending("s") == [chunk]
        ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells})
        assert ledger.rows(a_cell(0.1)) is not None


def test_rollouts_of_a_pinned_neuron_are_rollouts():
    with Ledger() as ledger:
        (chunk,) = ledger.plan("screen", [[PinCell("b", "select", "L0.N1", 2.0)]])
        assert ledger.first_rollout("L0.N1") == ledger.first_rollout("L0.N1", "b") == chunk.sequence
        assert ledger.first_rollout("L0.N2") is None
        # They are no doses, so nothing drafts from them.
        assert ledger.rollout_cells("b", "L0.N1") == []


def test_a_record_is_written_once_and_events_keep_their_order(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        ledger.record("prediction", "b/L0.N1/-1", {"c": 0.7})
        assert ledger.first_rollout("L0.N1", "b") is None
        (chunk,) = ledger.plan("s", [[a_cell()]])
        assert ledger.first_rollout("L0.N1", "b") == chunk.sequence
        assert ledger.first_rollout("L0.N1", "other") is None
        assert ledger.sequence("prediction", "b/L0.N1/-1") < chunk.sequence
        with pytest.raises(LedgerError):
            ledger.record("prediction", "b/L0.N1/-1", {"c": 0.1})
        assert ledger.find("prediction", "b/L0.N1/-1") == {"c": 0.7}


def test_what_is_remembered_is_computed_once_and_reads_the_same_at_once_and_later(tmp_path):
    asked = []

    def compute() -> dict:
        asked.append(1)
        return {"layers": (1, 2), 7: 0.1 + 0.2}

    for _ in range(2):
        with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
            for _ in range(2):
                assert ledger.remember("passes", "L3", compute) == {"layers": [1, 2], "7": 0.1 + 0.2}
    assert asked == [1]
    with Ledger() as ledger:
        assert [ledger.remember("x", "nothing", lambda: asked.append(2)) for _ in range(2)] == [None, None]
    assert asked == [1, 2], "a payload of nothing is a payload"


def test_what_cannot_be_computed_is_not_remembered(tmp_path):
    def fail() -> dict:
        raise ZeroDivisionError

    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        with pytest.raises(ZeroDivisionError):
            ledger.remember("passes", "L3", fail)
        assert ledger.remember("passes", "L3", lambda: 1) == 1


def test_completions_of_sensitive_behaviors_lie_apart_and_private(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        (chunk,) = ledger.plan("s", [[a_cell()]])
        ledger.commit(chunk, {a_cell(): rows_of(a_cell())}, sensitive=True)
        assert ledger.rows(a_cell()) == [{"prompt": p, "outcomes": {"8": "refused"}} for p in "ab"]
        assert [row["text"] for row in ledger.completions(a_cell())] == ["a at 0.5", "b at 0.5"]
    everything = b"".join(p.read_bytes() for p in tmp_path.glob("ledger.sqlite*"))
    assert b"a at 0.5" not in everything
    assert stat.S_IMODE((tmp_path / "completions.sqlite").stat().st_mode) == 0o600
    (tmp_path / "completions.sqlite").unlink()
    with Ledger(path) as shared:
        assert shared.completions(a_cell()) is None
        assert not (tmp_path / "completions.sqlite").exists()


def test_an_absent_ledger_is_one_clear_error(tmp_path):
    with pytest.raises(LedgerError, match="no ledger at") as caught:
        Ledger(tmp_path / "ledger.sqlite")
    assert "run directory" in caught.value.hint


@pytest.mark.parametrize("content", [b"not a database at all, only text" * 100, b""])
def test_a_corrupt_or_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    assert caught.value.hint
    assert path.read_bytes() == content


def test_a_truncated_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        for i in range(200):
            ledger.record("x", str(i), {"text": "y" * 200})
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(LedgerError):
        Ledger(path)


def test_a_foreign_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(LedgerError, match="something else"):
            Ledger(path, create=create)
    assert path.read_bytes() == before


def test_another_version_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        ledger._connection.execute("PRAGMA user_version=99")
    with pytest.raises(LedgerError, match="version 99"):
        Ledger(path)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        (first,) = ledger.plan("s", [[a_cell(0.1)]])
        ledger.commit(first, {a_cell(0.1): rows_of(a_cell(0.1))})
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        # SQLite reports a page limit exactly as it reports a full disk.
        ledger._connection.execute(f"PRAGMA max_page_count={pages + 1}")
        (second,) = ledger.plan("s", [[a_cell(0.2)]])
        big = [{"prompt": "a", "text": "z" * 100_000}]
        with pytest.raises(LedgerError, match="full") as caught:
            ledger.commit(second, {a_cell(0.2): big})
        assert "resume" in caught.value.hint
    with Ledger(path) as again:
        assert again.rows(a_cell(0.1)) == rows_of(a_cell(0.1))
        assert again.pending("s") == [second]
        again.commit(second, {a_cell(0.2): big})
        assert again.rows(a_cell(0.2)) == big


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(LedgerError) as caught:
        Ledger(blocker / "run" / "ledger.sqlite", create=True)
    assert caught.value.hint


def test_only_one_process_runs_a_run(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, create=True) as ledger:
        ledger.lock()
        script = (
            "import sys; from pathlib import Path; from controlwindow.runs.ledger import Ledger\n"
            "from controlwindow.errors import LedgerError\n"
            "ledger = Ledger(Path(sys.argv[1]))\n"
            "try:\n ledger.lock()\nexcept LedgerError as e:\n print(e.message)\n"
        )
        other = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert "another process" in other.stdout


def test_rollout_cells_are_listed_by_neuron(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        (chunk, waiting) = ledger.plan("s", [[a_cell(0.2), a_cell(0.1, "L0.N2")], [a_cell(0.4)]])
        ledger.commit(chunk, {cell: rows_of(cell) for cell in chunk.cells})
        assert ledger.rollout_cells("b", "L0.N1") == [a_cell(0.2)]
        assert waiting.cells == (a_cell(0.4),)


def test_the_ledger_in_memory_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger() as ledger:
        ledger.lock()
        (chunk,) = ledger.plan("s", [[a_cell()]])
        ledger.commit(chunk, {a_cell(): rows_of(a_cell())}, sensitive=True)
        assert ledger.completions(a_cell())[0]["text"] == "a at 0.5"
    assert list(Path(tmp_path).iterdir()) == []


def test_a_number_that_is_not_finite_is_one_error_that_says_where(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        with pytest.raises(LedgerError, match=r"not a finite number \(rows\.1\.score is nan\)"):
            ledger.record("x", "y", {"rows": [{"score": 1.0}, {"score": float("nan")}]})
        assert ledger.find("x", "y") is None
