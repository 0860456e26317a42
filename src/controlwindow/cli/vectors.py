"""The command that says what a coefficient of a residual vector comes to."""

from __future__ import annotations

from typing import Annotated

import typer

from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import JsonOption, ModelSource, opens_model
from controlwindow.cli.progress import TerminalProgress
from controlwindow.models.vectors import read_vector
from controlwindow.report.wording import interval, number, quantity
from controlwindow.windows.vectors import units as units_of


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("units", epilog="Example: controlwindow units ./my-model --vector happy.gguf:12 --coefficient 1.5")(
        units
    )


@opens_model()
def units(
    model: ModelSource,
    vector: Annotated[
        str,
        typer.Option(
            "--vector",
            "-v",
            help="FILE:LAYER, or FILE:LAYER:ROW: safetensors, .npy, .npz, .pt, or a GGUF control vector.",
        ),
    ],
    coefficient: Annotated[list[float] | None, typer.Option(help="What it is multiplied by; several times.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Units of a residual vector: t, c, budget and predicted ceiling of a coefficient."""
    held = read_vector(vector)
    loaded = model.open()
    with TerminalProgress() as progress, progress.stage(f"{loaded.name}: probe passes") as stage:
        found = [units_of(loaded, held, coefficient=value, progress=stage.update) for value in coefficient or [1.0]]
    if as_json:
        print_json([one.to_json() for one in found], "units")
        return
    console = output()
    first = found[0]
    console.print(
        f"{first.name}: norm {quantity(first.norm)}, residual {quantity(first.residual_norm)}, budget "
        f"{quantity(first.budget)}",
        markup=False,
    )
    for one in found:
        ceiling = "beyond the range" if one.ceiling is None else number(one.ceiling)
        at = "" if one.ceiling_coefficient is None else f", at coefficient {quantity(one.ceiling_coefficient)}"
        console.print(
            f"  coefficient {quantity(one.coefficient)}: t {number(one.t)}, c {number(one.c)}; predicted ceiling "
            f"{ceiling} {interval(one.ceiling_interval)}{at}",
            markup=False,
        )
