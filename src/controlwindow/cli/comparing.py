"""The command that compares ways to steer at matched rates of a behavior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlwindow.behaviors import load_to_run
from controlwindow.cells import METHODS
from controlwindow.cli.display import check_open, say_directory, show_result
from controlwindow.cli.options import (
    BehaviorOption,
    JsonOption,
    ModelSource,
    NeuronsOption,
    OpenOption,
    RemoteJudgeOption,
    SeedOption,
    opens_model,
    read_named,
)
from controlwindow.cli.progress import TerminalProgress
from controlwindow.jobs.compare.call import compare_interventions
from controlwindow.jobs.compare.plan import LEVELS, check_request
from controlwindow.report.pages.compare.page import comparison_terminal


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", epilog="Example: controlwindow compare organism:switch -b language -n L4.N160 --out runs/c")(
        compare
    )


@opens_model()
def compare(
    model: ModelSource,
    behavior: BehaviorOption,
    neuron: Annotated[
        list[str] | None,
        typer.Option("--neuron", "-n", help="A neuron, several times for several; default those planted."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help=f"A method, several times for several; default all: {', '.join(METHODS)}."),
    ] = None,
    level: Annotated[
        list[float] | None,
        typer.Option("--level", help="A rate of the behavior to match; default 0.25, 0.5, 0.75 and 0.9."),
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Also compare a random neuron, and a direction of shuffled labels.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Keep ledger, page and figures in this run directory.")] = None,
    seed: SeedOption = 0,
    include_neurons: NeuronsOption = False,
    remote_judge: RemoteJudgeOption = False,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare neurons with directions of the residual stream, each pushed to the same rate of the behavior.

    Prints what each method costs there: collapsed text, surprise at ordinary answers, changes on benign prompts. Given
    again with the same directory, it goes on where it was cut off.
    """
    wanted = load_to_run(behavior, remote_judge=remote_judge)
    methods, levels = tuple(method or METHODS), tuple(level or LEVELS)
    neuron = None if neuron is None else read_named(neuron)
    if neuron or not model.name.startswith("organism:"):
        # What cannot be compared is refused before a model is loaded.
        check_request(neuron or (), methods, levels)
    check_open(open_report, out)
    say_directory(out)
    loaded = model.open()
    with TerminalProgress() as progress:
        found = compare_interventions(
            loaded,
            behavior,
            neuron,
            out,
            methods=methods,
            levels=levels,
            controls=controls,
            seed=seed,
            include_neurons=include_neurons,
            remote_judge=remote_judge,
            progress=progress,
        )
    lines = comparison_terminal(
        found, sensitive=wanted.sensitive, organism=loaded.organism is not None, include_neurons=include_neurons
    )
    show_result(found.to_json(), lines, out, as_json, name="comparison", opened=open_report)
