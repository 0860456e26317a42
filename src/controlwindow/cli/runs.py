"""Commands on run directories: results, report, resume."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.text import Text

from controlwindow import api
from controlwindow.cli.circuits import draw_circuit_run, resume_circuit_run, show_circuit_run
from controlwindow.cli.comparing import draw_comparison_run, resume_comparison_run, show_comparison_run
from controlwindow.cli.display import TerminalProgress, output, print_json
from controlwindow.cli.options import CompletionsOption, JsonOption, NeuronsOption, RunArgument
from controlwindow.cli.probing import draw_probe_run, resume_probe_run, show_probe_run
from controlwindow.jobs.circuit.call import is_circuit_run
from controlwindow.jobs.compare.call import is_comparison_run
from controlwindow.jobs.probe.call import is_probe_run
from controlwindow.report import coverage_lines, headline_lines, rank_table, verdict_table
from controlwindow.report.pages.audit.assemble import report_document
from controlwindow.runs.results import open_run, read_results


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("results", epilog="Example: controlwindow results runs/mine --json")(results)
    app.command("report", epilog="Example: controlwindow report runs/mine --include-completions")(report)
    app.command("resume", epilog="Example: controlwindow resume runs/mine")(resume)


def results(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print the verdicts of a run, finished or not."""
    if is_circuit_run(run):
        show_circuit_run(run, as_json)
        return
    if is_probe_run(run):
        show_probe_run(run, as_json)
        return
    if is_comparison_run(run):
        show_comparison_run(run, as_json)
        return
    show_run(run, as_json)


def report(
    run: RunArgument,
    include_completions: CompletionsOption = False,
    include_neurons: NeuronsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw report.html and figures of a run again, from its ledger."""
    if is_circuit_run(run):
        draw_circuit_run(run, include_neurons, as_json)
        return
    if is_probe_run(run):
        draw_probe_run(run, include_neurons, as_json)
        return
    if is_comparison_run(run):
        draw_comparison_run(run, include_neurons, as_json)
        return
    with open_run(run) as ledger:
        path = api.write_run_report(
            ledger, run, include_completions=include_completions, include_neurons=include_neurons
        )
    if as_json:
        figures = sorted(str(figure) for figure in (run / "figures").glob("*.svg"))
        print_json({"report": str(path), "figures": figures})
        return
    output().print(Text(str(path)), soft_wrap=True)


def resume(run: RunArgument, as_json: JsonOption = False) -> None:
    """Go on with a run that was cut off; no finished chunk is repeated."""
    if is_circuit_run(run):
        resume_circuit_run(run, as_json)
        return
    if is_probe_run(run):
        resume_probe_run(run, as_json)
        return
    if is_comparison_run(run):
        resume_comparison_run(run, as_json)
        return
    with TerminalProgress() as progress:
        api.resume(run, progress=progress)
    show_run(run, as_json)


def show_run(directory: Path, as_json: bool) -> None:
    """Print a run's results from its ledger."""
    with open_run(directory) as ledger:
        found = read_results(ledger)
        if as_json:
            print_json(found.to_json())
            return
        document = report_document(ledger)
    console = output()
    for line in headline_lines(document):
        console.print(line)
    console.print()
    console.print(verdict_table(document))
    for line in coverage_lines(document):
        console.print(line)
    if document.coverage.screen_recall:
        console.print(rank_table(document))
    if not found.finished:
        console.print(Text(f"unfinished: controlwindow resume {directory}", style="yellow"), soft_wrap=True)
    page = directory / "report.html"
    if page.exists():
        console.print(Text(f"report: {page}"), soft_wrap=True)
