"""What a run of the benchmarks found, as plain values."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.timing import Aim, Ratio, Timing

State = Literal["equal", "unequal", "unavailable"]


@dataclass(frozen=True)
class Line:
    """One ratio of the table.

    Attributes:
        what: What is compared with what.
        ratio: The ratio.
        aim: What it should be; None where nothing is asked for.
        note: What a reader must know to read it.
    """

    what: str
    ratio: Ratio
    aim: Aim | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the aim is met, in one word."""
        return "" if self.aim is None else "met" if self.aim.met(self.ratio.value) else "missed"


@dataclass(frozen=True)
class Standing:
    """Whether a contender took part.

    Attributes:
        name: Its key.
        title: What tables call it.
        state: Whether its tokens equal the plain reference's, or it cannot take part.
        reason: How they compare, or why it cannot.
        versions: Versions of what it runs on.
    """

    name: str
    title: str
    state: State
    reason: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One workload's results.

    Attributes:
        name: Its key, as in `--only`.
        title: What it is, with its size.
        lines: Its ratios.
        timings: Every contender's times.
        standings: Who took part.
        facts: Counts and the like.
    """

    name: str
    title: str
    lines: Sequence[Line] = ()
    timings: Sequence[Timing] = ()
    standings: Sequence[Standing] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """One run.

    Attributes:
        machine: What it ran on.
        settings: How it ran.
        parts: The workloads.
    """

    machine: dict[str, str]
    settings: dict[str, Any]
    parts: Sequence[Part]

    def to_json(self) -> dict[str, Any]:
        """Plain values; times in seconds."""
        document = asdict(self)
        for part, values in zip(self.parts, document["parts"], strict=True):
            values["lines"] = [
                {
                    "what": line.what,
                    "ratio": line.ratio.value,
                    "range": [line.ratio.low, line.ratio.high],
                    "aim": None if line.aim is None else str(line.aim),
                    "verdict": line.verdict,
                    "note": line.note,
                }
                for line in part.lines
            ]
            values["timings"] = [{**asdict(t), "median": t.median, "min": t.least} for t in part.timings]
        return document


def machine(device: str) -> dict[str, str]:
    """What this machine is: processor, cores, memory, system and the versions that matter."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("controlwindow", "torch", "transformers")},
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
