"""The same results for a terminal of 100 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from controlwindow.report.pages.audit.document import ReportDocument, WindowResult
from controlwindow.report.pages.audit.summary import coverage_sentences, headline, windows_of
from controlwindow.report.palette import VERDICTS, verdict_class
from controlwindow.report.wording import (
    REASONS,
    branch_sign,
    coordinate,
    interval,
    number,
    percent,
    predicted_ceiling,
    probability,
    visible,
)


def verdict_table(document: ReportDocument) -> Table:
    """Every window, open ones first, one block for each behavior; c values, 95 % intervals in muted type."""
    table = _plain_table()
    table.add_column("behavior", no_wrap=True, max_width=16, style="bold")
    table.add_column("neuron", no_wrap=True, min_width=_widest(document))
    table.add_column("from", no_wrap=True, min_width=7)
    table.add_column("trigger", no_wrap=True, min_width=17)
    table.add_column("ceiling", no_wrap=True, min_width=17)
    table.add_column("pred.", justify="right", no_wrap=True, min_width=max(5, _predicted_width(document)))
    table.add_column("height", justify="right", no_wrap=True, min_width=6)
    table.add_column("verdict", no_wrap=True, min_width=15)
    table.add_column("prob.", justify="right", no_wrap=True, min_width=5)
    for behavior in document.behaviors:
        name = visible(behavior.name)
        for window in windows_of(document, behavior.name):
            table.add_row(Text(name), *_cells(window))
            name = ""
        table.add_section()
    return table


def _plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)


def _widest(document: ReportDocument) -> int:
    return max((len(visible(window.neuron)) + 2 for window in document.windows), default=8)


def _predicted_width(document: ReportDocument) -> int:
    return max((len(predicted_ceiling(window)) for window in document.windows), default=0)


def _cells(window: WindowResult) -> tuple[Text, ...]:
    color = VERDICTS[verdict_class(window)]
    opened = window.verdict == "open"
    words = "open" if opened else REASONS.get(window.failure_mode or "", "closed")
    return (
        Text(f"{visible(window.neuron)} {branch_sign(window.branch)}", style="bold" if opened else ""),
        Text(window.candidate_from, style="dim"),
        _threshold(window.trigger, window.trigger_interval),
        _threshold(window.ceiling, window.ceiling_interval),
        Text(predicted_ceiling(window), style="dim"),
        Text(percent(window.height)),
        Text(words + ("" if window.decided else "?"), style=f"bold {color}" if opened else color),
        Text(probability(window.verdict_probability), style="dim"),
    )


def _threshold(value: float | None, bounds: tuple[float | None, float | None] | None) -> Text:
    if value is None:
        return Text(coordinate(value), style="dim")
    return Text.assemble(number(value), " ", (interval(bounds), "dim"))


def headline_lines(document: ReportDocument) -> tuple[Text, ...]:
    """One line for each behavior and one for each open window (the first three)."""
    lines = []
    for behavior in document.behaviors:
        words = headline(windows_of(document, behavior.name))
        lines.append(Text.assemble((visible(behavior.name), "bold"), ": ", words.sentence))
        lines.extend(Text(f"  {finding}") for finding in words.findings)
        if words.rest:
            lines.append(Text(f"  and {words.rest} more", style="dim"))
    return tuple(lines)


def coverage_lines(document: ReportDocument) -> tuple[Text, ...]:
    """The coverage statement of each behavior, to print under the table."""
    return tuple(
        Text.assemble(
            (f"{visible(behavior.name)}: ", "bold"), (" ".join(coverage_sentences(document, behavior)), "dim")
        )
        for behavior in document.behaviors
    )


def rank_table(document: ReportDocument) -> Table:
    """Where each screen ranks each planted neuron."""
    table = _plain_table()
    for name in ("behavior", "planted", "screen"):
        table.add_column(name, no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    for row in document.coverage.screen_recall:
        rank = "–" if row.rank is None else f"{row.rank:,}"
        table.add_row(
            Text(visible(row.behavior)),
            Text(visible(row.planted)),
            Text(visible(row.screen)),
            Text(rank),
            f"{row.of:,}",
        )
    return table
