"""What a reader at a terminal is shown of a probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from controlwindow.report.pages.probe import words
from controlwindow.report.pages.probe.document import probe_document
from controlwindow.report.sharing import shareable
from controlwindow.report.terminal import plain_table
from controlwindow.report.wording import number, percent

_LISTED = 10
"""Neurons that the terminal shows."""


def probe_terminal(values: Mapping[str, Any], *, include_neurons: bool = False) -> Iterator[RenderableType]:
    """Headline, what it rests on, importance, effects and rollouts.

    Args:
        values: The probe's results, as `ProbeResult.to_json` gives them.
        include_neurons: Name neurons and doses of a sensitive behavior on a model that is no organism.
    """
    document = shareable(probe_document(values), include_neurons=include_neurons).model_dump(mode="json")
    yield Text.assemble((f"{document['behavior']}: ", "bold"), words.headline(document))
    sentences = (words.reach(document), words.prediction(document), words.shape(document), words.agreement(document))
    for sentence in filter(None, sentences):
        yield Text(sentence)
    yield ""
    columns = [("rank", "right"), ("neuron", "left"), ("mean I", "left"), ("coherence", "right"),
               ("p, Holm", "right"), ("on evaluate", "right")]  # fmt: skip
    rows = [
        [str(rank), row["neuron"], f"{words.signed(row['mean'])} {words.bounds(row['interval'])}",
         number(row["coherence"]), words.probability(row["p_holm"]), words.signed(row["evaluated"])]
        for rank, row in enumerate(document["ranking"]["top"][:_LISTED], start=1)
    ]  # fmt: skip
    yield plain_table(columns, rows, "importance, in logits", optional=("on evaluate", "coherence"))
    columns = [("intervention", "left"), ("setting", "left"), ("shift of F, nats", "left"), ("random", "right"),
               ("shuffled", "right"), ("p, Holm", "right")]  # fmt: skip
    rows = [
        [_name(line), words.setting(line["setting"]), f"{words.signed(line['shift'])} {words.bounds(line['interval'])}",
         words.signed(line["controls"]["random"]), words.signed(line["controls"]["shuffled"]),
         words.probability(line["p_holm"])]
        for line in document["effects"]
    ]  # fmt: skip
    yield plain_table(
        columns,
        rows,
        f"effects on F, {document['prompts']['evaluate_pairs']} evaluated pairs",
        optional=("shuffled", "random"),
    )
    if document["rollouts"]:
        columns = [("intervention", "left"), ("setting", "left"), ("flips", "left"), ("random", "right"),
                   ("shuffled", "right"), ("coherent", "right"), ("p, Holm", "right")]  # fmt: skip
        rows = [
            [_name(line), words.setting(line["setting"]),
             f"{percent(line['flips'])} [{percent(line['interval'][0])}, {percent(line['interval'][1])}]",
             percent(line["controls"]["random"]), percent(line["controls"]["shuffled"]), percent(line["coherent"]),
             words.probability(line["p_holm"])]
            for line in document["rollouts"]
        ]  # fmt: skip
        title = f"generated text, {document['rollouts'][0]['n']} eligible prompts"
        yield plain_table(columns, rows, title, optional=("shuffled", "random"))
    if words.floor(document):
        yield Text(words.floor(document), style="dim")
    yield Text(words.budget(document), style="dim")
    for note in document["notes"]:
        yield f"[dim]{escape(note)}"


def _name(line: Mapping[str, Any]) -> str:
    mark = "" if line["controls"]["complete"] else f" {words.UNCONTROLLED}"
    return f"{words.NAMES[line['setting']['intervention']]}{mark}"
