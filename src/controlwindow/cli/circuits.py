"""The command `circuit`, and how a circuit run is shown, drawn again and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlwindow.behaviors import load_to_run
from controlwindow.circuits.sweep import LADDER
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
)
from controlwindow.cli.progress import TerminalProgress
from controlwindow.jobs.circuit.call import check_ladder
from controlwindow.jobs.circuit.call import circuit as measure_circuit
from controlwindow.report.pages.circuit.page import draw_circuit
from controlwindow.report.pages.circuit.tables import circuit_terminal
from controlwindow.screens import find_screen


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("circuit", epilog="Example: controlwindow circuit organism:switch -b refusal --top 16 --out runs/mine")(
        circuit
    )


@opens_model()
def circuit(
    model: ModelSource,
    behavior: BehaviorOption,
    top: Annotated[str, typer.Option(help="Size: a share such as 0.1%, or a number of neurons.")] = "0.1%",
    screen: Annotated[str, typer.Option(help="Screen whose top is the circuit.")] = "contrastive",
    factor: Annotated[
        list[float] | None,
        typer.Option("--factor", help="What activations are multiplied by; several times for a ladder. Default: "
                     + ", ".join(f"{value:g}" for value in LADDER)),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The base model to compare with; default the one that the organism's card names.")
    ] = None,
    no_base: Annotated[bool, typer.Option("--no-base", help="Compare with no base model.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of every control.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Keep ledger, report and figures in this run directory.")] = None,
    seed: SeedOption = 0,
    figure: Annotated[Path | None, typer.Option(help="Draw behavior and cost by strength to this SVG file.")] = None,
    include_neurons: NeuronsOption = False,
    remote_judge: RemoteJudgeOption = False,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Scale a screen's top neurons together at a ladder of strengths, beside their controls.

    A directory that already holds the same circuit is gone on with.
    """
    find_screen(screen).check(load_to_run(behavior, remote_judge=remote_judge))
    factors = check_ladder(factor or LADDER)
    check_open(open_report, out)
    say_directory(out)
    loaded = model.open()
    with TerminalProgress() as progress:
        found = measure_circuit(
            loaded,
            behavior,
            out,
            top=top,
            screen=screen,
            factors=factors,
            base=False if no_base else base or True,
            seeds=seeds,
            seed=seed,
            include_neurons=include_neurons,
            remote_judge=remote_judge,
            progress=progress,
        )
    if figure is not None:
        draw_circuit(found.document, figure)
    show_result(
        found.document,
        circuit_terminal(found.document, include_neurons=include_neurons),
        out,
        as_json,
        name="circuit",
        opened=open_report,
    )
