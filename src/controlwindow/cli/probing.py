"""The command `probe`, and how a probe is shown, drawn again and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.pairs import prompt_pairs
from controlwindow.cli.display import TerminalProgress, output, plain_table, print_json
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
from controlwindow.errors import UsageError
from controlwindow.jobs.probe import call as probe_api
from controlwindow.report.pages.probe import words
from controlwindow.report.pages.probe.page import draw_probe, write_probe_report
from controlwindow.report.wording import number, percent
from controlwindow.runs.results import round_floats

_LISTED = 10
"""Neurons that the terminal shows."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("probe", epilog="Example: controlwindow probe organism:switch -b language --passes 3000 --out runs/p")(
        probe
    )


def probe(
    model: ModelArgument,
    behavior: BehaviorOption,
    passes: Annotated[
        int | None, typer.Option(min=1, help="Most sequences passed forward, rollouts apart; default as planned.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Sizes k of the circuit, as in 1,4,16; default 1, 2, 4, ….")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep ledger, report and figures in this run directory.")] = None,
    seed: SeedOption = 0,
    figure: Annotated[Path | None, typer.Option(help="Draw the effect on F by k to this SVG file.")] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    system_prompt: SystemOption = None,
    include_neurons: NeuronsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Probe a behavior with perturbed prompts: importance, an intervention sweep, opposition or routing.

    A directory that already holds the same probe is gone on with.
    """
    loaded_behavior = load_behavior(behavior)
    for split in ("find", "select", "evaluate"):
        prompt_pairs(loaded_behavior, split)
    ladder = None if sizes is None else _sizes(sizes)
    loaded = open_model(model, device, dtype, system_prompt)
    with TerminalProgress() as progress:
        found = probe_api.probe(
            loaded,
            behavior,
            out,
            passes=passes,
            sizes=ladder,
            seed=seed,
            include_neurons=include_neurons,
            progress=progress,
        )
    document = round_floats(found.to_json())
    if figure is not None:
        draw_probe(document, figure)
    show_probe(document, out, as_json)


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"sizes are whole numbers, got {text!r}", "give them as in --sizes 1,4,16") from None


def show_probe(document: dict[str, Any], directory: Path | None, as_json: bool) -> None:
    """Print a probe's results."""
    if as_json:
        print_json(document)
        return
    console = output()
    console.print(Text.assemble((f"{document['behavior']}: ", "bold"), words.headline(document)), soft_wrap=True)
    sentences = (words.reach(document), words.prediction(document), words.shape(document), words.agreement(document))
    for sentence in filter(None, sentences):
        console.print(Text(sentence), soft_wrap=True)
    console.print()
    columns = [("rank", "right"), ("neuron", "left"), ("mean I", "left"), ("coherence", "right"),
               ("p, Holm", "right"), ("on evaluate", "right")]  # fmt: skip
    rows = [
        [str(rank), row["neuron"], f"{words.signed(row['mean'])} {words.bounds(row['interval'])}",
         number(row["coherence"]), words.probability(row["p_holm"]), words.signed(row["evaluated"])]
        for rank, row in enumerate(document["ranking"]["top"][:_LISTED], start=1)
    ]  # fmt: skip
    console.print(plain_table(columns, rows, "importance, in logits"))
    columns = [("intervention", "left"), ("setting", "left"), ("shift of F, nats", "left"), ("random", "right"),
               ("shuffled", "right"), ("p, Holm", "right")]  # fmt: skip
    rows = [
        [_name(line), words.setting(line["setting"]), f"{words.signed(line['shift'])} {words.bounds(line['interval'])}",
         words.signed(line["controls"]["random"]), words.signed(line["controls"]["shuffled"]),
         words.probability(line["p_holm"])]
        for line in document["effects"]
    ]  # fmt: skip
    console.print(plain_table(columns, rows, f"effects on F, {document['prompts']['evaluate_pairs']} evaluated pairs"))
    if document["rollouts"]:
        columns = [("intervention", "left"), ("setting", "left"), ("flips", "left"), ("random", "right"),
                   ("shuffled", "right"), ("coherent", "right"), ("p, Holm", "right")]  # fmt: skip
        rows = [
            [_name(line), words.setting(line["setting"]),
             f"{percent(line['flips'])} [{percent(line['interval'][0])}, {percent(line['interval'][1])}]",
             percent(line["controls"]["random"]), percent(line["controls"]["shuffled"]), percent(line["coherent"]),
             words.probability(line["p_holm"])]
            for line in document["rollouts"]
        ]  # fmt: skip
        title = f"generated text, {document['rollouts'][0]['n']} eligible prompts"
        console.print(plain_table(columns, rows, title))
    console.print(Text(words.budget(document), style="dim"), soft_wrap=True)
    for note in document["notes"]:
        console.print(f"[dim]{escape(note)}", soft_wrap=True)
    if directory is not None and (directory / "report.html").exists():
        console.print(Text(f"report: {directory / 'report.html'}"), soft_wrap=True)


def _name(line: dict[str, Any]) -> str:
    mark = "" if line["controls"]["complete"] else f" {words.UNCONTROLLED}"
    return f"{words.NAMES[line['setting']['intervention']]}{mark}"


def show_probe_run(directory: Path, as_json: bool) -> None:
    """Print the results of a finished probe from its ledger."""
    show_probe(probe_api.read_probe(directory), directory, as_json)


def draw_probe_run(directory: Path, include_neurons: bool, as_json: bool) -> None:
    """Draw the report of a probe again, from its ledger."""
    path = write_probe_report(probe_api.read_probe(directory), directory, include_neurons=include_neurons)
    if as_json:
        figures = sorted(str(figure) for figure in (directory / "figures").glob("*.svg"))
        print_json({"report": str(path), "figures": figures})
        return
    output().print(Text(str(path)), soft_wrap=True)


def resume_probe_run(directory: Path, as_json: bool) -> None:
    """Go on with a probe that was cut off."""
    with TerminalProgress() as progress:
        found = probe_api.resume_probe(directory, progress=progress)
    show_probe(round_floats(found.to_json()), directory, as_json)
