"""The command that holds a model against a policy before it is released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlwindow.cli.display import open_page, print_json, show_result
from controlwindow.cli.options import JsonOption, ModelSource, NeuronsOption, OpenOption, opens_model
from controlwindow.cli.progress import TerminalProgress
from controlwindow.jobs.gate.call import gate as hold
from controlwindow.jobs.gate.kind import GateKind
from controlwindow.jobs.gate.outputs import check_key
from controlwindow.jobs.gate.policy import read_policy
from controlwindow.runs.kinds import Shown


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("gate", epilog="Example: controlwindow gate ./my-model --policy gate.toml --out runs/gate")(gate)


@opens_model()
def gate(
    model: ModelSource,
    policy: Annotated[Path, typer.Option("--policy", help="The policy, a TOML file; see `guide gate`.")],
    out: Annotated[Path, typer.Option(help="Run directory; holds the outputs, and the runs it consists of.")],
    baseline: Annotated[
        str | None, typer.Option(help="A model, or the directory of an audit or a gate, to compare with.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="An ssh key that signs the digests of all outputs (ssh-keygen -Y sign).")
    ] = None,
    include_neurons: NeuronsOption = False,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hold a model against a policy before its weights are published.

    Exit 0: it passes. Exit 1: it breaks the policy. Exit 2: it could not be judged, also for any error. Writes
    report.html, gate.json, gate.sarif, gate.xml (JUnit), gate.md (for a model card) and SHA256SUMS. Given again with
    the same directory, it goes on where it was cut off.
    """
    # What is wrong with the policy is said before a model is loaded.
    read_policy(policy)
    if sign is not None:
        check_key(sign)
    loaded = model.open()
    with TerminalProgress() as progress:
        found = hold(
            loaded, policy, out, baseline=baseline, sign=sign, include_neurons=include_neurons, progress=progress
        )
    if open_report and as_json:
        open_page(out / "report.html")
    if as_json:
        print_json(found.document, "gate")
    else:
        show_result(None, GateKind().terminal(out, Shown()), out, False, name="gate", opened=open_report)
    raise typer.Exit(found.exit_code)
