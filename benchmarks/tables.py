"""Tables of results: for the terminal, and in Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.results import Part, Results

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
"""Between these lines of docs/performance.md the command writes its tables."""

Rows = list[tuple[str, ...]]


def ratio_rows(parts: Sequence[Part]) -> Rows:
    """What, ratio with range, aim, verdict, note."""
    return [
        (line.what, str(line.ratio), "" if line.aim is None else str(line.aim), line.verdict, line.note)
        for part in parts
        for line in part.lines
    ]


def timing_rows(part: Part) -> Rows:
    """Contender, median, fastest, repeats."""
    return [(t.title, seconds(t.median), seconds(t.least), str(len(t.seconds))) for t in part.timings]


def standing_rows(part: Part) -> Rows:
    """Contender, state, reason, versions."""
    return [
        (s.title, s.state, s.reason, ", ".join(f"{name} {version}" for name, version in s.versions.items()))
        for s in part.standings
    ]


def seconds(value: float) -> str:
    """A time with three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


RATIOS = ("what", "ratio (range)", "aim", "", "note")
TIMINGS = ("contender", "median", "fastest", "repeats")
STANDINGS = ("contender", "tokens", "how", "versions")


def show(results: Results, console: Console) -> None:
    """Print everything."""
    for part in results.parts:
        console.print(_table(part.title, TIMINGS, timing_rows(part)))
        if part.standings:
            console.print(_table("who took part", STANDINGS, standing_rows(part)))
        for name, value in part.facts.items():
            console.print(f"[dim]{name}: {value}")
        console.print()
    console.print(_table("ratios (medians, range over rounds)", RATIOS, ratio_rows(results.parts)))
    console.print("[dim]" + _conditions(results))


def _table(title: str, columns: Sequence[str], rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def markdown(results: Results) -> str:
    """Everything as Markdown."""
    blocks = [markdown_table(RATIOS, ratio_rows(results.parts)), _conditions(results) + "."]
    for part in results.parts:
        blocks += [f"**{part.title[0].upper()}{part.title[1:]}**", markdown_table(TIMINGS, timing_rows(part))]
        if part.facts:
            blocks.append("; ".join(f"{name.replace('_', ' ')}: {_fact(value)}" for name, value in part.facts.items()))
        if part.standings:
            blocks.append(markdown_table(STANDINGS, standing_rows(part)))
    return "\n\n".join(blocks) + "\n"


def markdown_table(columns: Sequence[str], rows: Rows) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _fact(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "–".join(map(_fact, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(v)}" for name, v in value.items())
    return str(value)


def _conditions(results: Results) -> str:
    found = {**results.machine, **{name: str(value) for name, value in results.settings.items()}}
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())


def insert(document: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what a document has between two markers.

    Raises:
        ValueError: It has no such markers.
    """
    before, opened, rest = document.read_text("utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"{document} has no lines {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", "utf-8")
