"""Commands on run directories of every kind: results, report, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from controlwindow import api
from controlwindow.bridges.drawing import draw_capability, require_inspect
from controlwindow.cli.display import messages, open_page, output, print_json, say_page, show_result
from controlwindow.cli.options import CompletionsOption, JsonOption, NeuronsOption, OpenOption, RunArgument
from controlwindow.cli.progress import TerminalProgress
from controlwindow.report.pages.against.page import against_terminal
from controlwindow.report.pages.capability.figures import capability_tables
from controlwindow.runs.kinds import Shown, kind_of
from controlwindow.runs.provenance import UNVERIFIED, work_in


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("results", epilog="Example: controlwindow results runs/mine --json")(results)
    app.command("report", epilog="Example: controlwindow report runs/mine --include-completions")(report)
    app.command("resume", epilog="Example: controlwindow resume runs/mine")(resume)


def results(run: RunArgument, include_neurons: NeuronsOption = False, as_json: JsonOption = False) -> None:
    """Print the results of a run; of an audit, finished or not. Like the ledger, --json names every neuron."""
    show_run(run, as_json, include_neurons or None)


def report(
    run: RunArgument,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Another audit, of the same architecture: draw what opened, closed and moved since.", metavar="RUN"
        ),
    ] = None,
    include_completions: CompletionsOption = False,
    include_neurons: NeuronsOption = False,
    evals: Annotated[
        list[Path] | None,
        typer.Option("--evals", help="A log of Inspect, or a folder of them: drawn along an audit's windows."),
    ] = None,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw the page and figures of a run again, from its ledger.

    With --evals also what tasks of Inspect score along the windows, into capability/ beside the page.
    """
    if against is not None:
        _report_against(run, against, include_neurons, open_report, as_json)
        return
    if evals:
        require_inspect()
    path = api.draw_report(run, include_completions=include_completions, include_neurons=include_neurons)
    if open_report:
        open_page(path)
    if as_json:
        figures = sorted(str(figure) for figure in (run / "figures").glob("*.svg"))
        found: dict[str, object] = {"report": str(path), "figures": figures}
        if evals:
            document, drawn = draw_capability(run, evals, include_neurons=include_neurons)
            found |= {"capability": document.to_json(), "capability_figures": list(map(str, drawn))}
        print_json(found, "report")
        return
    say_page(path, before="")
    if evals:
        document, drawn = draw_capability(run, evals, include_neurons=include_neurons)
        for line in capability_tables(document):
            output().print(line)
        for one in drawn:
            output().print(Text(str(one)), soft_wrap=True)


def _report_against(run: Path, against: Path, include_neurons: bool, opened: bool, as_json: bool) -> None:
    from controlwindow.jobs.gate.against import compare_runs, write_against

    found = compare_runs(run, against, include_neurons=include_neurons)
    path = write_against(found, run)
    if as_json:
        print_json({"report": str(path), **found.model_dump(mode="json")}, "against")
    else:
        show_result(None, against_terminal(found), None, False, name="against")
        say_page(path)
    if opened:
        open_page(path)


def resume(run: RunArgument, open_report: OpenOption = False, as_json: JsonOption = False) -> None:
    """Go on with a run that was cut off; no finished chunk is repeated."""
    with TerminalProgress() as progress:
        api.resume(run, progress=progress)
    show_run(run, as_json, opened=open_report)


def show_run(directory: Path, as_json: bool, include_neurons: bool | None = None, *, opened: bool = False) -> None:
    """Print a run's results from its ledger; None names neurons as the run's plan says."""
    kind = kind_of(directory)
    if opened and kind.page_name is not None:
        open_page(directory / kind.page_name)
    if as_json:
        print_json(kind.document(directory), kind.name)
    else:
        lines = kind.terminal(directory, Shown(neurons=include_neurons))
        show_result(None, lines, directory, False, kind.page_name, name=kind.name)
    if not work_in(directory).verified:
        # On stderr, since --json prints one document and nothing else.
        messages().print(Text(f"note: {UNVERIFIED}", style="yellow"), soft_wrap=True)
