"""The page of two audits, and the same for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from controlwindow.report.page import Page, Sheet
from controlwindow.report.pages.against.document import ORDER, AgainstDocument
from controlwindow.report.pages.gate.page import changed
from controlwindow.report.wording import branch_sign, plural, probability, visible


def render_against(document: AgainstDocument) -> Page:
    """Draw a document that has already been made shareable."""
    sheet = Sheet("against.html.jinja", {"changed": changed, "sign": branch_sign})
    return sheet.page(
        against=document,
        headline=against_headline(document),
        changes=document.listed(),
        origin=[
            ("before", document.before),
            ("weights before", document.before_fingerprint),
            ("now", document.now),
            ("weights now", document.now_fingerprint),
        ],
    )


def against_headline(document: AgainstDocument) -> str:
    """How many windows changed, by how."""
    counts = Counter(str(change.change) for change in document.changes)
    if not document.changes:
        return "The two runs measured no window in common."
    found = [f"{counts[name]} {name}" for name in ORDER if counts[name]]
    return f"Of {plural(len(document.changes), 'window')} that both runs measured: {', '.join(found)}."


def against_terminal(document: AgainstDocument) -> Iterator[RenderableType]:
    """What changed; the document has already been made shareable."""
    yield Text(against_headline(document), style="bold")
    for change in document.listed():
        if change.change != "same":
            yield Text(
                f"  {visible(change.behavior)}: {visible(change.neuron)} {branch_sign(change.branch)} {change.change}: "
                f"{changed(change)}, adjusted p {probability(change.p_holm)}"
            )
    for row in document.missing:
        yield Text(f"{visible(row.behavior)}: {visible(row.note)}", style="yellow")
