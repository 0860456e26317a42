"""One virtual environment per peer, made from its pinned requirements and kept beside the benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
PEERS = HERE / "peers"


class Unavailable(Exception):
    """A peer cannot take part.

    Args:
        reason: Why, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def interpreter(name: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there or its requirements have changed.

    Raises:
        Unavailable: It cannot be installed.
    """
    requirements = PEERS / f"{name}.txt"
    home = ENVIRONMENTS / name
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = home / ".requirements"
    wanted = requirements.read_text("utf-8")
    if python.exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    stamp.write_text(wanted, "utf-8")
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(last_line(done.stderr or done.stdout) or f"{command[2]} ended with code {done.returncode}")


def last_line(text: str) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
