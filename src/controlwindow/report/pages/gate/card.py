"""A gate as a block of Markdown for a model card."""

from __future__ import annotations

import re

from controlwindow.report.pages.gate.document import GateDocument
from controlwindow.report.pages.gate.words import RULES, described, headline, measured
from controlwindow.report.wording import plural, visible

_MARKS = {"pass": "kept", "fail": "**broken**", "unjudged": "not judged", "warn": "warning"}
BEGIN, END = "<!-- controlwindow gate: begin -->", "<!-- controlwindow gate: end -->"


def card_text(document: GateDocument) -> str:
    """The document as Markdown, between marks by which a later block replaces it; it has been made shareable before."""
    lines = [BEGIN, "## Control-window gate", "", f"**{escaped(headline(document))}**", ""]
    for behavior in document.behaviors:
        lines += [
            f"### {escaped(behavior.name)}",
            "",
            f"{plural(behavior.tested, 'neuron')} of {document.model.neurons_total:,} tested on "
            + (f"{behavior.n_eligible} prompts." if behavior.n_eligible is not None else "no eligible prompts."),
            "",
            "| rule | | measured |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {RULES[check.rule]} | {_MARKS[check.status]} | {escaped(measured(check, document.withheld))} |"
            for check in document.of(behavior.name)
        ]
        broke = [finding for finding in document.findings if finding.behavior == behavior.name]
        lines += ["", *(f"- {escaped(described(finding))}" for finding in broke), *([""] if broke else [])]
    if document.withheld:
        lines += ["Which neurons, how they were chosen and at which dose is withheld.", ""]
    lines += [escaped(document.statement), ""]
    lines += [
        f"Weights `{document.model.fingerprint}`, controlwindow {document.versions.get('controlwindow', '?')}.",
        END,
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Foreign text as Markdown that shows it and does nothing."""
    return re.sub(r"([\\`*_{}\[\]<>|#!~])", r"\\\1", visible(text))
