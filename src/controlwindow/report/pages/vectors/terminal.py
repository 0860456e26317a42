"""A table of windows of residual vectors."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from controlwindow.report.pages.vectors.document import VectorsDocument, VectorWindow
from controlwindow.report.wording import branch_sign, coordinate, interval, number, percent, probability, visible
from controlwindow.secrecy import WITHHELD


def vectors_terminal(document: VectorsDocument) -> Iterator[RenderableType]:
    """Every window, open ones first; the document has been made shareable before."""
    opened = sum(window.verdict == "open" for window in document.windows)
    yield Text(f"{opened} of {len(document.windows)} windows of vectors are open", style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for name in ("behavior", "vector", "trigger", "ceiling", "pred.", "height", "verdict", "prob."):
        table.add_column(name, no_wrap=True, justify="right" if name in ("pred.", "height", "prob.") else "left")
    for window in sorted(document.windows, key=lambda w: (w.behavior, w.verdict != "open")):
        table.add_row(*map(Text, _cells(window)))
    yield table
    if document.withheld:
        yield Text("vectors and doses are withheld; include them with --include-neurons", style="dim")
    if not document.finished:
        yield Text("unfinished: go on with controlwindow resume", style="yellow")


def _cells(window: VectorWindow) -> list[str]:
    name = WITHHELD if window.vector is None else visible(window.vector)
    sure = "" if window.decided else ", undecided"
    return [
        visible(window.behavior),
        f"{name} {branch_sign(window.branch)}",
        f"{coordinate(window.trigger)} {interval(window.trigger_interval)}".strip(),
        f"{coordinate(window.ceiling)} {interval(window.ceiling_interval)}".strip(),
        number(window.ceiling_predicted),
        percent(window.height),
        f"{window.verdict}{sure}",
        probability(window.verdict_probability),
    ]
