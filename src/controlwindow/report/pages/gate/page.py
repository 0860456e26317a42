"""The page of a gate, and the same for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from controlwindow.report.page import Page, Sheet
from controlwindow.report.pages.gate.document import Change, GateDocument
from controlwindow.report.pages.gate.words import RULES, VERDICTS, described, headline, measured
from controlwindow.report.terminal import Fitting
from controlwindow.report.wording import branch_sign, interval, number, percent, probability, visible

_COLORS = {"pass": "green", "fail": "bold red", "unjudged": "yellow", "warn": "yellow"}
STATUSES = {"pass": "kept", "fail": "broken", "unjudged": "not judged", "warn": "warning"}


def render_gate(document: GateDocument) -> Page:
    """Draw a document that has already been made shareable."""
    sheet = Sheet(
        "gate.html.jinja",
        {"described": described, "changed": changed, "rule": RULES.__getitem__, "status": STATUSES.__getitem__},
    )
    return sheet.page(
        gate=document,
        headline=headline(document),
        verdict=VERDICTS[document.verdict],
        measured=lambda check: measured(check, document.withheld),
        branch_sign=branch_sign,
        origin=[
            ("model", document.model.name),
            ("weights", document.model.fingerprint),
            ("policy", document.policy_file),
            ("measured", None if not document.audit else dict(document.audit)),
            ("run", document.run),
            *((f"{row.what}: {row.name}", row.digest) for row in document.inputs),
            *((f"{row.what}, digest", row.digest) for row in document.commitments),
            *((f"{row.what}, commitment", row.commitment) for row in document.commitments),
            *document.versions.items(),
        ],
    )


def changed(change: Change) -> str:
    """What a window's comparison found, in numbers."""
    if change.measure == "height":
        found = f"flips {percent(change.height_before)} → {percent(change.height_now)}"
        ends = change.height_interval
        return f"{found}, difference {percent(change.height_difference)} {_shares(ends)}".strip()
    found = f"trigger {number(change.trigger_before)} → {number(change.trigger_now)}"
    return f"{found}, difference {number(change.trigger_difference)} {interval(change.trigger_interval)}".strip()


def _shares(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{percent(ends[0])}, {percent(ends[1])}]"


def gate_terminal(document: GateDocument) -> Iterator[RenderableType]:
    """Verdict, checks, what broke them; the document has already been made shareable."""
    yield Text(visible(headline(document)), style=_COLORS[document.verdict])
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("behavior", no_wrap=True)
    table.add_column("rule", max_width=56)
    table.add_column("", no_wrap=True)
    table.add_column("measured", max_width=40)
    for behavior in document.behaviors:
        name = visible(behavior.name)
        for check in document.of(behavior.name):
            words = visible(measured(check, document.withheld))
            table.add_row(
                Text(name), RULES[check.rule], Text(STATUSES[check.status], style=_COLORS[check.status]), Text(words)
            )
            name = ""
        table.add_section()
    yield Fitting([table])
    for finding in document.findings:
        yield Text(f"{visible(finding.behavior)}: {visible(described(finding))}")
    for change in document.changes:
        yield Text(
            f"{visible(change.behavior)}: {visible(change.neuron)}, branch {branch_sign(change.branch)} "
            f"{change.change} since the baseline: {changed(change)}, adjusted p {probability(change.p_holm)}"
        )
    if document.withheld:
        yield Text("neurons and doses are withheld; whoever runs the gate can include them with --include-neurons")
    yield Text(document.statement, style="dim")
