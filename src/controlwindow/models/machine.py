"""What the machine gives a model: devices, memory, processors that this process may use, and native bfloat16."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Flags of processors that multiply in bfloat16; others emulate it."""

_ROOT = Path("/")


@dataclass(frozen=True)
class Machine:
    """What there is to compute with. None for what this system does not say.

    Attributes:
        device: Where `device="auto"` puts a model: cpu or cuda.
        accelerators: Names of the CUDA devices.
        accelerator_memory: Their memory in bytes.
        cpus: Processors in the machine.
        cpus_allowed: Processors that this process may use, by affinity and by the control group's share.
        threads: Threads that PyTorch computes with.
        memory: Bytes of memory that this process may use.
        memory_free: Bytes of it that are free now.
        bfloat16: Whether the device computes in bfloat16 itself.
    """

    device: str
    accelerators: tuple[str, ...]
    accelerator_memory: tuple[int, ...]
    cpus: int | None
    cpus_allowed: float | None
    threads: int
    memory: int | None
    memory_free: int | None
    bfloat16: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def slow(self) -> tuple[str, ...]:
        """What would make work slow here, each with what to do, in sentences."""
        found = []
        if self.device == "cpu":
            found.append(
                "no accelerator is visible: models above about 1B parameters take hours; audit --estimate says"
            )
        if not self.bfloat16:
            found.append(f"the {self.device} only emulates bfloat16: leave --dtype at float32")
        if self.cpus_allowed is not None and self.threads > self.cpus_allowed + 0.5:
            found.append(
                f"{self.threads} threads share {self.cpus_allowed:g} processors: set OMP_NUM_THREADS="
                f"{max(1, round(self.cpus_allowed))}"
            )
        if self.cpus_allowed is not None and self.threads + 0.5 < self.cpus_allowed and self.device == "cpu":
            found.append(f"{self.threads} of {self.cpus_allowed:g} processors are used: raise OMP_NUM_THREADS")
        if self.memory_free is not None and self.memory_free < 2 << 30:
            found.append("less than 2 GiB of memory are free: close what else runs here")
        return tuple(found)


def read_machine(root: Path = _ROOT) -> Machine:
    """Ask this machine.

    Args:
        root: Where `proc` and `sys` lie.
    """
    cuda = torch.cuda.is_available()
    properties = [
        torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count() if cuda else 0)
    ]
    memory, free = _memory(root)
    native = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else bool(_flags(root) & _BFLOAT16_FLAGS)
    return Machine(
        device="cuda" if cuda else "cpu",
        accelerators=tuple(one.name for one in properties),
        accelerator_memory=tuple(one.total_memory for one in properties),
        cpus=os.cpu_count(),
        cpus_allowed=_allowed(root),
        threads=torch.get_num_threads(),
        memory=memory,
        memory_free=free,
        bfloat16=native,
    )


def _text(path: Path) -> str:
    """A file of the system; empty where there is none."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _flags(root: Path) -> frozenset[str]:
    lines = _text(root / "proc/cpuinfo").splitlines()
    wanted = ("flags", "features")
    return frozenset(next((line.partition(":")[2] for line in lines if line.lower().startswith(wanted)), "").split())


def _allowed(root: Path) -> float | None:
    counts: list[float] = [len(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else []
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit():
        counts.append(int(quota) / int(period))
    return min(counts, default=None)


def _memory(root: Path) -> tuple[int | None, int | None]:
    known = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if rest.split() and rest.split()[0].isdigit():
            known[name] = int(rest.split()[0]) * 1024
    total, free = known.get("MemTotal"), known.get("MemAvailable")
    group = root / "sys/fs/cgroup"
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if limit.isdigit():
        total = int(limit) if total is None else min(total, int(limit))
        if used.isdigit():
            left = max(0, int(limit) - int(used))
            free = left if free is None else min(free, left)
    return total, free
