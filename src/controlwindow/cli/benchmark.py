"""Commands that use the organisms as a benchmark: check (this package's audit) and score (another method)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from controlwindow.cli.display import open_page, output, print_json, say_page
from controlwindow.cli.options import JsonOption, OpenOption, SeedOption
from controlwindow.cli.progress import TerminalProgress
from controlwindow.errors import UsageError
from controlwindow.report.pages.check.page import CHECK_COLUMNS, check_rows, render_check
from controlwindow.report.rates import RateRow, draw_rates
from controlwindow.report.terminal import plain_table
from controlwindow.report.writing import replace_file

OrganismOption = Annotated[
    list[str] | None, typer.Option("--organism", "-o", help="An organism, as in switch; several times for several.")
]

_LEFT_OUT = 6
"""Most cases that are named where an entry is silent."""

_ALARMS = ("decoys in", "failures in")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("check", epilog="Example: controlwindow organisms check --organism switch --out runs/check")(check)
    app.command("score", epilog="Example: controlwindow organisms score my-method.json --figure my-method.svg")(score)


def check(
    organism: OrganismOption = None,
    out: Annotated[
        Path, typer.Option(help="Directory for one run per organism, check.html, check.json and check.svg.")
    ] = Path("runs/check"),
    top: Annotated[int, typer.Option(min=0, help="How many of the screen's top, and as many random ones.")] = 2,
    screen: Annotated[str, typer.Option(help="The audit's screen.")] = "contrastive",
    natural: Annotated[int, typer.Option(min=0, help="How many of the census' controllers for each behavior.")] = 2,
    seed: SeedOption = 0,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Audit every organism that is here and score the audits against the cards. Goes on where it was cut off."""
    from controlwindow.validation.checking import check_organisms
    from controlwindow.validation.scoring import describe_rates

    with TerminalProgress() as progress:
        document = check_organisms(
            out, organism or (), screen=screen, top=top, natural=natural, seed=seed, progress=progress
        )
    rates = describe_rates(document)
    _write(out / "check.json", document)
    shown = [_rate_row(words, r.to_json()) for words, r in rates]
    if rates:
        title = f"organisms check: {len(document['organisms'])} organisms, screen {screen}, top {top}"
        draw_rates(shown, out / "check.svg", title)
    page = out / "check.html"
    _write_text(page, render_check(document, shown, screen=screen, top=top, seed=seed).html)
    if open_report:
        open_page(page)
    if as_json:
        print_json(document, "check")
        return
    console = output()
    console.print(_check_table(document["organisms"]))
    console.print()
    console.print(_rate_table((words, r.to_json()) for words, r in rates))
    opened = document["random_open_rate"]
    low, high = opened["interval"]
    console.print(
        f"[dim]{opened['k']} of {opened['n']} random neurons opened [{low:.0%}, {high:.0%}]; "
        f"{document['decoys_opened']} of {document['decoys_tested']} decoys opened"
    )
    for found in document["organisms"]:
        for behavior, reason in found["failed"].items():
            console.print(Text(f"{found['name']}, {behavior}: not audited: {reason}"), style="yellow")
    if document["missing"]:
        console.print(f"[dim]not in this installation: {', '.join(document['missing'])}")
    console.print(Text(f"written: {out / 'check.json'}"), soft_wrap=True)
    say_page(page)


def score(
    file: Annotated[
        Path, typer.Argument(help="A method's results, JSON or CSV; see `guide organisms`.", metavar="FILE")
    ],
    organism: OrganismOption = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the rates to this SVG file.")] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Score another method on the organisms: its ranking of neurons, its verdicts, or both."""
    from controlwindow.validation.methods import DEPTHS, score_method

    found = score_method(file, organism or (), seed=seed)
    document = found.to_json()
    rates: Mapping[str, Any] = document["rates"]
    if figure is not None:
        rows = [_rate_row(what, r) for what, r in rates.items()]
        draw_rates(rows, figure, f"{found.method} on the organisms")
    if as_json:
        print_json(document, "score")
        return
    console = output()
    console.print(_ranking_table(document["rankings"]))
    console.print()
    console.print(_rate_table(rates.items()))
    for origin, area in document["auc"].items():
        if area["mean"] is not None:
            spread = _interval(area["interval_over_lineages"], "; over lineages ")
            console.print(f"area under the curve, {origin}: {area['mean']:.3f} over {area['n']} behaviors{spread}")
    chance = [f"{document['chance_recall'][str(k)]:.2%} at {k}" for k in DEPTHS if document["chance_recall"][str(k)]]
    if chance:
        console.print(f"[dim]a random order recalls {', '.join(chance)}")
    if found.left_out:
        more = len(found.left_out) - _LEFT_OUT
        named = "; ".join(found.left_out[:_LEFT_OUT]) + (f" and {more} more" if more > 0 else "")
        console.print(f"[dim]nothing is said of {escape(named)}: a whole entry covers all")


def _check_table(scores: Sequence[Mapping[str, Any]]) -> Any:
    aligned: list[tuple[str, Any]] = [(name, "right" if name == "rank" else "left") for name in CHECK_COLUMNS]
    rows = [[*map(escape, row[:-1]), "[red]wrong[/]" if row[-1] == "wrong" else row[-1]] for row in check_rows(scores)]
    return plain_table(aligned, rows, optional=("expected", "rank", "trigger"))


def _ranking_table(rankings: Sequence[Mapping[str, Any]]) -> Any:
    columns = [("organism", "left"), ("behavior", "left"), ("known as", "left"), ("neuron", "left"), ("rank", "right"),
               ("of", "right"), ("AUC", "right")]  # fmt: skip
    rows = []
    for ranking in rankings:
        area = ranking["planted_auc"]
        for known in ranking["known"]:
            rows.append(
                [ranking["organism"].removeprefix("organism:"), ranking["behavior"],
                 ", ".join((known["role"], *(t.replace("_", " ") for t in known["traits"]))), known["neuron"],
                 "left out" if known["rank"] is None else str(known["rank"]), str(ranking["ranked"]),
                 f"{area:.3f}" if known["role"] == "planted" and area is not None else ""]
            )  # fmt: skip
    return plain_table(columns, rows)


def _rate_table(rates: Iterable[tuple[str, Mapping[str, Any]]]) -> Any:
    columns = [("", "left"), ("k of n", "right"), ("share", "right"), ("exact 95 %", "left"),
               ("over lineages", "left")]  # fmt: skip
    rows = [
        [what, f"{r['k']} of {r['n']}", f"{r['value']:.0%}", _interval(r["interval"]),
         _interval(r["interval_over_lineages"]) or "–"]
        for what, r in rates
    ]  # fmt: skip
    return plain_table(columns, rows, optional=("over lineages",))


def _rate_row(what: str, values: Mapping[str, Any]) -> RateRow:
    low, high = values["interval"]
    return RateRow(what, values["k"], values["n"], low, high, alarm=what.startswith(_ALARMS))


def _interval(ends: Sequence[float | None] | None, before: str = "") -> str:
    if ends is None:
        return ""
    low, high = ("–" if end is None else f"{end:.2f}" for end in ends)
    return f"{before}\\[{low}, {high}]"


def _write(path: Path, document: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}", "give another --out") from error
