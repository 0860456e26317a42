"""The command that this process carries out and the run directory it works in; nothing heavy is imported here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

_COMMAND: ContextVar[tuple[str, ...] | None] = ContextVar("command", default=None)

_DIRECTORY: ContextVar[str | None] = ContextVar("directory", default=None)


def note_directory(directory: str | Path) -> None:
    """Say in which run directory a plan lies now, so that what is interrupted can say how it is gone on with."""
    _DIRECTORY.set(str(directory))


def noted_directory() -> str | None:
    """The directory; None while there is none with a plan."""
    return _DIRECTORY.get()


def resume_command(directory: str | Path) -> str:
    """The command that goes on with a run.

    Example:
        >>> resume_command("runs/my model")
        "controlwindow resume 'runs/my model'"
    """
    return f"controlwindow resume {shlex.quote(str(directory))}"


def note_command(words: Sequence[str] | None) -> None:
    """Say which command it is; None for a call from Python."""
    _COMMAND.set(None if words is None else tuple(words))
    _DIRECTORY.set(None)


def noted_command() -> tuple[str, ...] | None:
    """Its words; None for a call from Python."""
    return _COMMAND.get()
