from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from controlwindow.cli.threads import cores_at_hand, use_threads
from controlwindow.errors import UsageError


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


def test_cores_are_bounded_by_a_quota(tmp_path):
    bound = len(os.sched_getaffinity(0))
    assert cores_at_hand(()) == bound
    quota = tmp_path / "cpu.max"
    for said, cores in (("max 100000", bound), ("50000 100000", 1), ("900000000 100000", bound), ("nothing", bound)):
        quota.write_text(said)
        assert cores_at_hand((str(quota),)) == cores
    (tmp_path / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cores_at_hand((str(tmp_path / "cpu.cfs_quota_us"),)) == 1


def test_threads_as_asked_or_as_the_environment_says(monkeypatch):
    assert use_threads(3) == 3 == torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert use_threads(None) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert use_threads(None) == min(3, cores_at_hand())
    with pytest.raises(UsageError, match="--threads must be at least 1, got 0"):
        use_threads(0)


def test_the_command_line_takes_them(command, monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert command("atlas", "organism:switch", "-n", "L0.N0", "--threads", 2, "--json").code == 0
    assert torch.get_num_threads() == 2
    refused = command("atlas", "organism:switch", "--threads", 0)
    assert refused.code == 2
    assert "at least 1" in refused.err


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    code = (
        "import os; from controlwindow.cli.threads import wait_passively; wait_passively(); "
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        found = subprocess.run(
            [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == expected
