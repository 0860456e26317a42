"""The command that serves the live page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from controlwindow.cli.display import messages, output
from controlwindow.cli.options import DEFAULT_MODEL, ModelSource, opens_model, read_named
from controlwindow.cli.progress import TerminalProgress
from controlwindow.errors import UsageError
from controlwindow.live.serving import require_server, serve
from controlwindow.live.studio import Studio
from controlwindow.live.subjects import is_run, subject_of_model, subject_of_run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("live", epilog="Example: controlwindow live runs/mine --open")(live)


@opens_model(DEFAULT_MODEL, metavar="RUN|MODEL", help="An audit's run directory, or a model as for audit.")
def live(
    model: ModelSource,
    behavior: Annotated[
        list[str] | None,
        typer.Option("--behavior", "-b", help="For a model: a behavior whose prompts and oracles are at hand."),
    ] = None,
    neuron: Annotated[
        list[str] | None, typer.Option("--neuron", "-n", help="For a model: a neuron to begin with, as in L3.N7.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    include_sensitive: Annotated[
        bool, typer.Option("--include-sensitive", help="Show behaviors marked sensitive: their prompts and answers.")
    ] = False,
) -> None:
    """Serve a page on this machine alone: a dose under a slider, dosed and undosed text side by side as it comes.

    The link it prints holds a token; only who has the link can use the page. Stop it with Ctrl-C.
    """
    require_server()
    neuron = read_named(neuron)
    with TerminalProgress() as progress:
        if is_run(model.name):
            if behavior or neuron:
                raise UsageError(
                    f"{model.name} is a run, which has its own behaviors and neurons",
                    "leave --behavior and --neuron out; any neuron can be typed into the page",
                )
            subject = subject_of_run(Path(model.name), include_sensitive=include_sensitive, progress=progress)
        else:
            subject = subject_of_model(
                model.open(), behavior or (), neuron or (), include_sensitive=include_sensitive, progress=progress
            )
    if subject.withheld:
        messages().print(
            f"{subject.withheld} sensitive behavior{'s are' if subject.withheld > 1 else ' is'} left out; "
            "--include-sensitive shows them"
        )

    def ready(link: str) -> None:
        output().print(Text(link), soft_wrap=True)
        messages().print(Text("serving on this machine alone; stop with Ctrl-C", style="dim"))
        if open_page:
            webbrowser.open(link)

    serve(Studio(subject), port=port, ready=ready)
