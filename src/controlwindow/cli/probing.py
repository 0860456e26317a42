"""The command `probe`, and how a probe is shown, drawn again and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlwindow.behaviors import load_to_run
from controlwindow.behaviors.pairs import prompt_pairs
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
from controlwindow.errors import UsageError
from controlwindow.jobs.probe.call import probe as run_probe
from controlwindow.report.pages.probe.page import draw_probe
from controlwindow.report.pages.probe.terminal import probe_terminal
from controlwindow.values import round_floats


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("probe", epilog="Example: controlwindow probe organism:switch -b language --passes 3000 --out runs/p")(
        probe
    )


@opens_model()
def probe(
    model: ModelSource,
    behavior: BehaviorOption,
    passes: Annotated[
        int | None, typer.Option(min=1, help="Most sequences passed forward, rollouts apart; default as planned.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Sizes k of the circuit, as in 1,4,16; default 1, 2, 4, ….")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep ledger, report and figures in this run directory.")] = None,
    seed: SeedOption = 0,
    figure: Annotated[Path | None, typer.Option(help="Draw the effect on F by k to this SVG file.")] = None,
    include_neurons: NeuronsOption = False,
    remote_judge: RemoteJudgeOption = False,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Probe a behavior with perturbed prompts: importance, an intervention sweep, opposition or routing.

    A directory that already holds the same probe is gone on with.
    """
    loaded_behavior = load_to_run(behavior, remote_judge=remote_judge)
    for split in ("find", "select", "evaluate"):
        prompt_pairs(loaded_behavior, split)
    ladder = None if sizes is None else _sizes(sizes)
    check_open(open_report, out)
    say_directory(out)
    loaded = model.open()
    with TerminalProgress() as progress:
        found = run_probe(
            loaded,
            behavior,
            out,
            passes=passes,
            sizes=ladder,
            seed=seed,
            include_neurons=include_neurons,
            remote_judge=remote_judge,
            progress=progress,
        )
    document = round_floats(found.to_json())
    if figure is not None:
        draw_probe(document, figure)
    show_result(
        document,
        probe_terminal(document, include_neurons=include_neurons),
        out,
        as_json,
        name="probe",
        opened=open_report,
    )


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"sizes are whole numbers, got {text!r}", "give them as in --sizes 1,4,16") from None
