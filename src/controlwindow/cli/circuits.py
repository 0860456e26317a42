"""The command `circuit`, and how a circuit run is shown, drawn again and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from controlwindow.behaviors import load_behavior
from controlwindow.circuits.sweep import LADDER
from controlwindow.cli.display import TerminalProgress, output, print_json
from controlwindow.cli.options import (
    BehaviorOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    NeuronsOption,
    SeedOption,
    SystemOption,
    open_model,
)
from controlwindow.jobs.circuit import call as circuit_api
from controlwindow.report.pages.circuit.page import draw_circuit, write_circuit_report
from controlwindow.report.pages.circuit.tables import circuit_lines, ladder_table, layer_table
from controlwindow.screens import find_screen


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("circuit", epilog="Example: controlwindow circuit organism:switch -b refusal --top 16 --out runs/mine")(
        circuit
    )


def circuit(
    model: ModelArgument,
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
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    system_prompt: SystemOption = None,
    include_neurons: NeuronsOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Scale a screen's top neurons together at a ladder of strengths, beside their controls.

    A directory that already holds the same circuit is gone on with.
    """
    find_screen(screen).check(load_behavior(behavior))
    factors = circuit_api.check_ladder(factor or LADDER)
    loaded = open_model(model, device, dtype, system_prompt)
    with TerminalProgress() as progress:
        found = circuit_api.circuit(
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
            progress=progress,
        )
    if figure is not None:
        draw_circuit(found.document, figure)
    show_circuit(found.document, out, as_json)


def show_circuit(document: dict[str, Any], directory: Path | None, as_json: bool) -> None:
    """Print a circuit's results."""
    if as_json:
        print_json(document)
        return
    console = output()
    for line in circuit_lines(document):
        console.print(line)
    console.print()
    console.print(
        ladder_table(document["ladder"], f"{document['prompts']['eligible']} eligible prompts", document["mark"])
    )
    console.print(layer_table(document))
    if document["base"] is not None:
        console.print(ladder_table(document["base"]["ladder"], f"the same circuit in {document['base']['model']}"))
    console.print(
        Text(
            "Shares with 95 % intervals over prompts and seeds; ppl ratio, tokens kept: undosed generic answers under "
            "the change; same answer: generic prompts answered anew.",
            style="dim",
        )
    )
    if directory is not None and (directory / "report.html").exists():
        console.print(Text(f"report: {directory / 'report.html'}"), soft_wrap=True)


def show_circuit_run(directory: Path, as_json: bool) -> None:
    """Print the results of a finished circuit run from its ledger."""
    show_circuit(circuit_api.read_circuit(directory), directory, as_json)


def draw_circuit_run(directory: Path, include_neurons: bool, as_json: bool) -> None:
    """Draw the report of a circuit run again, from its ledger."""
    path = write_circuit_report(circuit_api.read_circuit(directory), directory, include_neurons=include_neurons)
    if as_json:
        figures = sorted(str(figure) for figure in (directory / "figures").glob("*.svg"))
        print_json({"report": str(path), "figures": figures})
        return
    output().print(Text(str(path)), soft_wrap=True)


def resume_circuit_run(directory: Path, as_json: bool) -> None:
    """Go on with a circuit run that was cut off."""
    with TerminalProgress() as progress:
        found = circuit_api.resume_circuit(directory, progress=progress)
    show_circuit(found.document, directory, as_json)
