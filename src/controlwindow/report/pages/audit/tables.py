"""The same results for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from controlwindow.report.judging import corrected_sentence, judging_sentences
from controlwindow.report.pages.audit.document import ReportDocument, WindowResult
from controlwindow.report.pages.audit.summary import coverage_sentences, headline, unlike_sentences, windows_of
from controlwindow.report.palette import VERDICTS, verdict_class
from controlwindow.report.terminal import Fitting
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


def verdict_table(document: ReportDocument) -> Fitting:
    """Every window, open ones first, one block for each behavior; c values, 95 % intervals in muted type.

    With less room than about 100 columns a table for each behavior, without sources and predictions, then without
    intervals.
    """
    whole = _columns(
        document, "behavior", "neuron", "from", "trigger", "ceiling", "pred.", "height", "verdict", "prob."
    )
    for behavior in document.behaviors:
        name = visible(behavior.name)
        for window in windows_of(document, behavior.name):
            whole.add_row(Text(name), *_cells(window).values())
            name = ""
        whole.add_section()
    return Fitting(
        [whole],
        _by_behavior(document, "neuron", "trigger", "ceiling", "height", "verdict", "prob."),
        _by_behavior(document, "neuron", "trigger", "ceiling", "verdict", "prob.", intervals=False),
    )


def _by_behavior(document: ReportDocument, *headings: str, intervals: bool = True) -> list[Table]:
    tables = []
    for behavior in document.behaviors:
        table = _columns(document, *headings)
        table.title, table.title_justify = Text(visible(behavior.name), style="bold"), "left"
        for window in windows_of(document, behavior.name):
            cells = _cells(window, intervals)
            table.add_row(*(cells[heading] for heading in headings))
        tables.append(table)
    return tables


_ALL = ("behavior", "neuron", "from", "trigger", "ceiling", "pred.", "height", "verdict", "prob.")
_RIGHT = frozenset({"pred.", "height", "prob."})


def _columns(document: ReportDocument, *headings: str) -> Table:
    widths = {
        "neuron": max((len(visible(window.neuron)) + 2 for window in document.windows), default=8),
        "pred.": max(5, max((len(predicted_ceiling(window)) for window in document.windows), default=0)),
    }
    table = _plain_table()
    for heading in headings:
        table.add_column(
            heading,
            no_wrap=True,
            min_width=widths.get(heading),
            justify="right" if heading in _RIGHT else "left",
            style="bold" if heading == "behavior" else "",
        )
    return table


def _plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)


def _cells(window: WindowResult, intervals: bool = True) -> dict[str, Text]:
    color = VERDICTS[verdict_class(window)]
    opened = window.verdict == "open"
    words = "open" if opened else REASONS.get(window.failure_mode or "", "closed")
    return {
        "neuron": Text(f"{visible(window.neuron)} {branch_sign(window.branch)}", style="bold" if opened else ""),
        "from": Text(window.candidate_from, style="dim"),
        "trigger": _threshold(window.trigger, window.trigger_interval if intervals else None),
        "ceiling": _threshold(window.ceiling, window.ceiling_interval if intervals else None),
        "pred.": Text(predicted_ceiling(window), style="dim"),
        "height": Text(percent(window.height)),
        "verdict": Text(words + ("" if window.decided else "?"), style=f"bold {color}" if opened else color),
        "prob.": Text(probability(window.verdict_probability), style="dim"),
    }


def _threshold(value: float | None, bounds: tuple[float | None, float | None] | None) -> Text:
    if value is None:
        return Text(coordinate(value), style="dim")
    return Text.assemble(number(value), (f" {interval(bounds)}" if bounds else "", "dim"))


def headline_lines(document: ReportDocument) -> tuple[Text, ...]:
    """One line for each behavior and one for each open window (the first three)."""
    lines = [Text(sentence, style="yellow") for sentence in unlike_sentences(document.predictions)]
    for behavior in document.behaviors:
        words = headline(windows_of(document, behavior.name), document.coverage.screen_known)
        lines.append(Text.assemble((visible(behavior.name), "bold"), ": ", words.sentence))
        lines.extend(Text(f"  {finding}") for finding in words.findings)
        if words.rest:
            lines.append(Text(f"  and {words.rest} more", style="dim"))
    return tuple(lines)


def coverage_lines(document: ReportDocument) -> tuple[Text, ...]:
    """The coverage statement of each behavior, to print under the table."""
    return tuple(
        Text.assemble(
            (f"{visible(behavior.name)}: ", "bold"),
            (
                " ".join(
                    (
                        *coverage_sentences(document, behavior),
                        *judging_sentences(behavior.judges, behavior.figures),
                        *_corrected(document, behavior.name),
                    )
                ),
                "dim",
            ),
        )
        for behavior in document.behaviors
    )


def _corrected(document: ReportDocument, behavior: str) -> Iterator[str]:
    """Of every open window, the rate at its best dose and last horizon that people would have found."""
    for window in windows_of(document, behavior):
        if window.verdict == "open":
            by_oracle = {share.oracle: share for share in window.corrected}
            for share in by_oracle.values():
                words = corrected_sentence(share)
                yield f"{visible(window.neuron)} {branch_sign(window.branch)} at its best dose: {words}."


def rank_table(document: ReportDocument) -> Fitting:
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
            Text(f"{row.of:,}"),
        )
    return Fitting([table])
