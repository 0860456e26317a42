"""`kill -9` at some moment, `resume`, and the results equal an uninterrupted run's; no finished chunk is repeated."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest


def chunks(path) -> list[tuple[int, str, int]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(
            "SELECT sequence, name, done FROM event JOIN chunk USING (sequence) ORDER BY sequence"
        ).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def written(path) -> list[tuple[str, int, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT cell, place, payload FROM row ORDER BY cell, place").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("after", [1, 4])
def test_killed_and_resumed_equals_uninterrupted(command, arguments, run_directory, tmp_path, after):
    directory = tmp_path / "killed"
    ledger = directory / "ledger.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "controlwindow", *arguments, "--out", str(directory)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < deadline:
            if ledger.exists() and sum(done for _, _, done in chunks(ledger)) >= after:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = [chunk for chunk in chunks(ledger) if chunk[2]]
    kept = set(written(ledger))
    assert after <= len(before) < len(chunks(run_directory / "ledger.sqlite")), "it was not killed in the middle"

    resumed = command("resume", directory, "--json")
    assert resumed.code == 0
    assert resumed.out == command("results", run_directory, "--json").out
    assert [name.rsplit("/", 1)[0] for _, name, _ in chunks(ledger)] == [
        name.rsplit("/", 1)[0] for _, name, _ in chunks(run_directory / "ledger.sqlite")
    ]
    assert kept <= set(written(ledger)), "a finished chunk was measured again"
    assert written(ledger) == written(run_directory / "ledger.sqlite")
