"""The command `judge`: an oracle or a judge against people's labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from controlwindow.behaviors.agreement import measure_agreement
from controlwindow.behaviors.agreement_files import oracle_fingerprint, write_agreement
from controlwindow.behaviors.labelled import find_oracle, judge_labelled, read_labels
from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import JsonOption, SeedOption
from controlwindow.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: controlwindow judge refusal --labels completions.csv --yes refusal")(judge)


def judge(
    judge: Annotated[
        str,
        typer.Argument(
            help='An oracle\'s type, a table as in a behavior file (\'{type="judge", model="DIR"}\'), or '
            "BEHAVIOR:ORACLE.",
            metavar="JUDGE",
        ),
    ],
    labels: Annotated[Path, typer.Option(help="Labelled answers: .csv, .tsv, .json, .jsonl or .parquet.")],
    yes: Annotated[list[str], typer.Option(help="A label that means yes; several times for several.")],
    prompt: Annotated[str, typer.Option(help="Column of the requests.")] = "prompt",
    answer: Annotated[str, typer.Option(help="Column of the answers.")] = "answer",
    label: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    language: Annotated[list[str] | None, typer.Option(help="ISO 639-1 code. Default en, or the behavior's.")] = None,
    remote_judge: Annotated[
        bool, typer.Option("--remote-judge", help="Allow a judge on another machine: the answers are sent there.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the result to this JSON file, for [agreement] in a behavior file.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure an oracle or a judge against labels of people: agreement, κ, and both error rates, with intervals."""
    oracle, languages = find_oracle(judge)
    if oracle.remote is not None and not remote_judge:
        raise UsageError(f"this judge would be sent every answer, at {oracle.remote}", "allow it with --remote-judge")
    answers = read_labels(labels, yes, prompt=prompt, answer=answer, label=label)
    told_apart = tuple(language or languages or ["en"])
    said = judge_labelled(oracle, answers, told_apart)
    found = measure_agreement([one.said for one in said], [one.label for one in answers], seed).to_json()
    document: dict[str, Any] = {"oracle": oracle.type, **found}
    replies = Counter(one.why for one in said if one.why)
    if replies:
        document["replies"] = dict(sorted(replies.items()))
    if out is not None:
        measured = oracle_fingerprint(oracle, told_apart)
        write_agreement(out, {**document, "measured": measured, "seed": seed}, labels, yes)
    if as_json:
        print_json(document, "agreement")
        return
    console = output()
    console.print(Text(f"{oracle.type} on {document['n']} labelled answers, {document['abstained']} undecided"))
    for name, key, interval in (
        ("agreement", "agreement", "agreement_interval"),
        ("Cohen's κ", "kappa", "kappa_interval"),
        ("true positives", "true_positive_rate", "true_positive_interval"),
        ("false positives", "false_positive_rate", "false_positive_interval"),
    ):
        console.print(Text(f"  {name:<16}{_with_interval(document[key], document[interval])}"))
    if "replies" in document:
        console.print(Text("  replies: " + ", ".join(f"{count} {name}" for name, count in document["replies"].items())))
    console.print(Text("95 % intervals; undecided answers are left out of every rate", style="dim"))


def _with_interval(value: float | None, interval: list[float] | None) -> str:
    if value is None or interval is None:
        return "–"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
