"""What a machine says of itself, read from files that this test writes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from controlwindow.models.machine import Machine, read_machine

CALM = Machine("cuda", ("a card",), (80 << 30,), 8, 8.0, 8, 64 << 30, 32 << 30, True)


def write_system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_control_group_limits_memory_and_processors(tmp_path):
    root = write_system(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n",
            "proc/cpuinfo": "processor : 0\nflags\t\t: fpu avx512_bf16\n",
            "sys/fs/cgroup/memory.max": "2147483648\n",
            "sys/fs/cgroup/memory.current": "1073741824\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
        },
    )
    found = read_machine(root)
    assert (found.memory, found.memory_free, found.cpus_allowed) == (2 << 30, 1 << 30, 0.5)
    if found.device == "cpu":
        assert found.bfloat16


def test_without_a_control_group_the_system_speaks(tmp_path):
    files = {"proc/meminfo": "MemTotal: 1024 kB\nMemAvailable: 512 kB\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}
    found = read_machine(write_system(tmp_path, files))
    assert (found.memory, found.memory_free) == (1 << 20, 512 << 10)
    assert found.cpus_allowed == len(os.sched_getaffinity(0))


def test_what_is_slow_is_said_with_what_to_do():
    assert CALM.slow() == ()
    assert replace(CALM, threads=16).slow() == ("16 threads share 8 processors: set OMP_NUM_THREADS=8",)
    assert replace(CALM, device="cpu", threads=1).slow()[1:] == ("1 of 8 processors are used: raise OMP_NUM_THREADS",)
    assert replace(CALM, bfloat16=False).slow() == ("the cuda only emulates bfloat16: leave --dtype at float32",)
    assert replace(CALM, memory_free=1 << 30).slow()[0].startswith("less than 2 GiB")
