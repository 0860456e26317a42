"""The command that tests the law: validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from controlwindow.behaviors import load_behavior
from controlwindow.catalogue import PREFIX, organism_path
from controlwindow.cli.display import say_directory, show_result
from controlwindow.cli.options import DEFAULT_MODEL, JsonOption, OpenOption, SeedOption
from controlwindow.cli.progress import TerminalProgress
from controlwindow.errors import UsageError
from controlwindow.jobs.law.call import rescore as rescore_law
from controlwindow.jobs.law.call import validate as run_validation
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.jobs.law.predicting import FILE_NAME, predict_only
from controlwindow.report.pages.law.page import law_terminal
from controlwindow.screens import find_screen
from controlwindow.windows.features import TIERS

_DEFAULTS = LawSizes()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("validate", epilog="Example: controlwindow validate organism:switch --out runs/law --jobs 2")(validate)


def validate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="organism:NAME, local directories, or hub ids.", metavar="[MODEL]...", show_default=False),
    ] = None,
    behavior: Annotated[
        list[str] | None,
        typer.Option("--behavior", "-b", help="A behavior's name or TOML file, for models without their own."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run directory: one ledger per model, document, page, figures.")] = Path(
        "runs/law"
    ),
    calibration: Annotated[
        int, typer.Option(min=2, help="Random neurons per model that predictors are fitted on.")
    ] = _DEFAULTS.calibration,
    held_out: Annotated[
        int, typer.Option(min=2, help="Random neurons per model that they are scored on.")
    ] = _DEFAULTS.held_out,
    screened: Annotated[
        int, typer.Option(min=0, help="Neurons of the screen's top, per behavior and role.")
    ] = _DEFAULTS.screened,
    natural: Annotated[
        int, typer.Option(min=0, help="Controllers that the census found, per behavior and role.")
    ] = _DEFAULTS.natural,
    behaviors_each: Annotated[
        int, typer.Option(min=1, help="Behaviors that each random neuron is measured for.")
    ] = _DEFAULTS.behaviors_each,
    prompts: Annotated[
        int, typer.Option(min=8, help="Most eligible prompts per behavior and role.")
    ] = _DEFAULTS.prompts,
    detailed: Annotated[
        int, typer.Option(min=0, help="Neurons that positions, length and threshold are varied on.")
    ] = _DEFAULTS.detailed,
    screen: Annotated[str, typer.Option(help="Screen whose top is taken.")] = _DEFAULTS.screen,
    tier: Annotated[str, typer.Option(help="What predictors may read: 0, 1/2 or 1.")] = _DEFAULTS.tier,
    jobs: Annotated[int, typer.Option(min=1, help="Models measured at the same time.")] = 1,
    write: Annotated[Path | None, typer.Option(help="Also write the law document to this file.")] = None,
    rescore: Annotated[
        Path | None,
        typer.Option(help="Score the records of this law document anew and write it; nothing is rolled out."),
    ] = None,
    predict: Annotated[
        bool,
        typer.Option("--predict-only", help="Only write down ceilings that the shipped predictors give; no behavior."),
    ] = False,
    seed: SeedOption = 0,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Test the law: predict held-out ceilings and verdicts, commit them, measure, and score.

    No MODEL stands for organism:switch. A directory that already holds the same validation is gone on with.
    """
    if rescore is not None:
        document = rescore_law(rescore, models or (), write)
        written = rescore if write is None else write
        show_result(document, law_terminal(document), written.parent, as_json, written.name, name="law")
        return
    find_screen(screen)
    if tier not in TIERS:
        raise UsageError(f"unknown tier {tier!r}", f"use one of {', '.join(TIERS)}")
    chosen = models or [DEFAULT_MODEL]
    # What is misspelt should be said before the first model is loaded.
    for name in chosen:
        if name.startswith(PREFIX):
            organism_path(name)
    for name in behavior or []:
        load_behavior(name)
    sizes = LawSizes(
        calibration=calibration,
        held_out=held_out,
        screened=screened,
        natural=natural,
        behaviors_each=behaviors_each,
        prompts=prompts,
        detailed=detailed,
        screen=screen,
        tier=tier,
        seed=seed,
    )
    say_directory(out)
    if predict:
        with TerminalProgress() as progress:
            found = predict_only(chosen, out, sizes=sizes, progress=progress)
        show_result(found, _predicted(found), out, as_json, FILE_NAME, name="predictions")
        return
    with TerminalProgress() as progress:
        document = run_validation(chosen, behavior or [], out, sizes=sizes, jobs=jobs, write=write, progress=progress)
    show_result(document, law_terminal(document), out, as_json, "law.html", name="law", opened=open_report)


def _predicted(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How many ceilings were predicted in each model, and how high."""
    for name, found in document["models"].items():
        values = [pair["ceiling"][0] for pair in found["pairs"] if pair["ceiling"] is not None]
        reached = sorted(value for value in values if value is not None)
        middle = f", half of them below c {reached[len(reached) // 2]:.2f}" if reached else ""
        told = f"{name}: {len(found['pairs'])} pairs, {len(reached)} ceilings predicted by {found['predictor']}{middle}"
        yield Text(told + (", in sample" if found["in_sample"] else ""))
