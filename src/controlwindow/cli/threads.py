"""How many cores a command takes, and what its threads do while they wait for each other."""

from __future__ import annotations

import math
import os
from pathlib import Path

from controlwindow.errors import UsageError

_QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


def wait_passively() -> None:
    """Let waiting threads sleep; to be called before PyTorch is imported, which reads this once.

    By default they spin for a while at the end of every parallel part. Where other processes want the same cores that
    is time taken from whoever would end the wait: two runs side by side slowed each other tenfold and more.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def use_threads(asked: int | None) -> int:
    """Set the number of threads that products use, and return it.

    Args:
        asked: As the user says; None takes OMP_NUM_THREADS where it is set, else the cores at hand.

    Raises:
        UsageError: It is below 1.
    """
    if asked is not None and asked < 1:
        raise UsageError(f"--threads must be at least 1, got {asked}")
    import torch

    if asked is None and os.environ.get("OMP_NUM_THREADS", "").strip():
        return torch.get_num_threads()
    count = asked if asked is not None else min(torch.get_num_threads(), cores_at_hand())
    torch.set_num_threads(count)
    return count


def cores_at_hand(quotas: tuple[str, ...] = _QUOTAS) -> int:
    """Cores that this process may use: those it is bound to, or fewer where a container's quota is smaller.

    Args:
        quotas: Files that may state a quota, of control groups version 2 and 1.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in quotas:
        try:
            words = Path(name).read_text("ascii").split()
            period = words[1] if len(words) > 1 else Path(name).with_name("cpu.cfs_period_us").read_text("ascii")
            if words[0] != "max" and int(words[0]) > 0:
                return max(1, min(bound, math.ceil(int(words[0]) / int(period))))
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue
    return max(1, bound)
