"""Entry point: commands, and one way to fail."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from controlwindow.cli.display import forgive_encodings, messages
from controlwindow.cli.threads import wait_passively
from controlwindow.errors import ControlWindowError
from controlwindow.runs.command import note_command, noted_directory, resume_command
from controlwindow.text import one_line

_INTERRUPTED = 130

_MODULES = {
    "audit": "measuring",
    "window": "measuring",
    "screen": "measuring",
    "atlas": "measuring",
    "live": "live",
    "compare": "comparing",
    "gate": "gating",
    "units": "vectors",
    "circuit": "circuits",
    "probe": "probing",
    "results": "runs",
    "report": "runs",
    "resume": "runs",
    "validate": "validating",
    "judge": "judging",
    "organisms": "organisms",
    "behaviors": "behaviors",
    "guide": "guide",
    "cache": "caching",
    "doctor": "doctor",
}
"""Where each command is defined; some are groups of their own."""


class _Commands(TyperGroup):
    """Commands whose modules are imported when they are asked for: a version or a typo should not load PyTorch."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the help."""
        return list(_MODULES)

    _names_alone = False

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What a shell is offered for a command's name; names alone, so that a tab does not load PyTorch."""
        self._names_alone = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._names_alone = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name, imported now."""
        if cmd_name not in _MODULES:
            return None
        if self._names_alone:
            return TyperCommand(cmd_name)
        module = import_module(f"controlwindow.cli.{_MODULES[cmd_name]}")
        if hasattr(module, "app"):
            group = get_group(module.app)
            group.name = cmd_name
            return group
        part = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
        module.add_to(part)
        part.callback()(lambda: None)
        return get_group(part).commands[cmd_name]


app = typer.Typer(
    name="controlwindow",
    cls=_Commands,
    help="Audit single-neuron steering of language models: which neurons open a control window, and why others do not.",
    epilog="Start with: controlwindow audit",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from controlwindow import __version__

        sys.stdout.write(f"controlwindow {__version__}\n")
        raise typer.Exit


def _interrupted() -> str:
    directory = noted_directory()
    if directory is None:
        return "interrupted; nothing was kept"
    return f"interrupted; what was measured is kept in {directory}, go on with: {resume_command(directory)}"


def main() -> None:
    """Run the command line. A user's error is one message with its repair on stderr and exit code 2."""
    forgive_encodings()
    wait_passively()
    note_command(["controlwindow", *sys.argv[1:]])
    try:
        app()
    except ControlWindowError as error:
        console = messages()
        console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
        if error.hint:
            console.print(Text.assemble(("hint: ", "bold"), error.hint), soft_wrap=True)
        sys.exit(2)
    except SystemExit as stop:
        # Typer turns an interrupt inside a command into this exit, and says nothing.
        if stop.code == _INTERRUPTED:
            messages().print(Text(_interrupted()), soft_wrap=True)
        raise
    except BrokenPipeError:
        # The reader of a pipe went away; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, MemoryError, RecursionError) as error:
        # What the machine refuses, wherever it does, is said in the same way.
        named = getattr(error, "filename", None)
        place = f" ({one_line(named, 200)})" if named else ""
        said = one_line(getattr(error, "strerror", None) or error or type(error).__name__, 200)
        messages().print(Text.assemble(("error: ", "bold red"), f"{said}{place}"), soft_wrap=True)
        messages().print(
            Text.assemble(("hint: ", "bold"), "check paths, permissions, space and memory"), soft_wrap=True
        )
        sys.exit(2)
