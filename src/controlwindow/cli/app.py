"""Entry point: commands, and one way to fail."""

from __future__ import annotations

import os
import sys

import typer
from rich.text import Text

from controlwindow.cli import behaviors, circuits, comparing, judging, measuring, organisms, probing, runs, validating
from controlwindow.cli.display import forgive_encodings, messages
from controlwindow.errors import ControlWindowError

_INTERRUPTED = 130

app = typer.Typer(
    name="controlwindow",
    help="Audit single-neuron steering of language models: which neurons open a control window, and why others do not.",
    epilog="Start with: controlwindow audit",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
measuring.add_to(app)
comparing.add_to(app)
circuits.add_to(app)
probing.add_to(app)
runs.add_to(app)
validating.add_to(app)
judging.add_to(app)
app.add_typer(organisms.app, name="organisms")
app.add_typer(behaviors.app, name="behaviors")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from controlwindow import __version__

        sys.stdout.write(f"controlwindow {__version__}\n")
        raise typer.Exit


def main() -> None:
    """Run the command line. A user's error is one message with its repair on stderr and exit code 2."""
    forgive_encodings()
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
            messages().print("interrupted; `controlwindow resume RUN` goes on with a run that has a directory")
        raise
    except BrokenPipeError:
        # The reader of a pipe went away; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
