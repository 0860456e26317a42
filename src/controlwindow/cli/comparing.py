"""The command that compares ways to steer at matched rates of a behavior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from controlwindow.behaviors import load_behavior
from controlwindow.cells import METHODS
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
from controlwindow.interventions.comparison import Comparison
from controlwindow.jobs.compare import call as comparison_api
from controlwindow.jobs.compare.job import LEVELS, ComparisonPlan
from controlwindow.models import Neuron
from controlwindow.report.pages.compare.page import comparison_lines, comparison_table


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", epilog="Example: controlwindow compare organism:switch -b language -n L4.N160 --out runs/c")(
        compare
    )


def compare(
    model: ModelArgument,
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
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    system_prompt: SystemOption = None,
    include_neurons: NeuronsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare neurons with directions of the residual stream, each pushed to the same rate of the behavior.

    Prints what each method costs there: collapsed text, surprise at ordinary answers, changes on benign prompts. Given
    again with the same directory, it goes on where it was cut off.
    """
    load_behavior(behavior)
    methods, levels = tuple(method or METHODS), tuple(level or LEVELS)
    for name in neuron or []:
        Neuron.parse(name)
    if neuron or not model.startswith("organism:"):
        # What cannot be compared is refused before a model is loaded.
        ComparisonPlan(tuple(neuron or ()), methods, levels)  # type: ignore[arg-type]
    loaded = open_model(model, device, dtype, system_prompt)
    with TerminalProgress() as progress:
        found = comparison_api.compare_interventions(
            loaded,
            behavior,
            neuron,
            out,
            methods=methods,
            levels=levels,
            controls=controls,
            seed=seed,
            include_neurons=include_neurons,
            progress=progress,
        )
    show_comparison(found, out, as_json)


def show_comparison(found: Comparison, directory: Path | None, as_json: bool) -> None:
    """Print a comparison."""
    if as_json:
        print_json(found.to_json())
        return
    console = output()
    console.print(Text(f"{found.behavior} on {found.model}: what each method costs at one rate", style="bold"))
    console.print(comparison_table(found))
    for line in comparison_lines(found):
        console.print(Text(line, style="dim"))
    if directory is not None and (directory / "report.html").exists():
        console.print(Text(f"report: {directory / 'report.html'}"), soft_wrap=True)


def show_comparison_run(directory: Path, as_json: bool) -> None:
    """Print the results of a finished comparison from its ledger."""
    show_comparison(comparison_api.read_comparison(directory), directory, as_json)


def draw_comparison_run(directory: Path, include_neurons: bool, as_json: bool) -> None:
    """Draw the report of a comparison again, from its ledger."""
    path = comparison_api.write_comparison_report(directory, include_neurons=include_neurons)
    if as_json:
        figures = sorted(str(figure) for figure in (directory / "figures").glob("*.svg"))
        print_json({"report": str(path), "figures": figures})
        return
    output().print(Text(str(path)), soft_wrap=True)


def resume_comparison_run(directory: Path, as_json: bool) -> None:
    """Go on with a comparison that was cut off."""
    with TerminalProgress() as progress:
        found = comparison_api.resume_comparison(directory, progress=progress)
    show_comparison(found, directory, as_json)
