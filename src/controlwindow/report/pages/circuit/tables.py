"""A circuit's results for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from controlwindow.report.pages.circuit import words
from controlwindow.report.pages.circuit.document import circuit_document
from controlwindow.report.pages.circuit.figures import ARM_NAMES
from controlwindow.report.sharing import shareable
from controlwindow.report.terminal import Fitting
from controlwindow.report.wording import number, percent, quantity, visible


def ladder_table(ladder: Sequence[Mapping[str, Any]], title: str = "", mark: str = "") -> Table:
    """Every arm at every strength; a mark where controls are missing."""
    table = _table(f"{title}{'  ' if title and mark else ''}{mark}")
    for name in ("arm", "m", "flips", "coherent", "ppl ratio", "tokens kept", "same answer"):
        table.add_column(name, no_wrap=True, justify="left" if name == "arm" else "right")
    last = None
    for row in ladder:
        if last is not None and row["arm"] != last:
            table.add_section()
        retained, quality = row["retention"], row["quality"]
        table.add_row(
            Text(ARM_NAMES[row["arm"]] if row["arm"] != last else "", style="bold" if row["arm"] == "circuit" else ""),
            quantity(row["factor"]),
            words.share(row["flip"]),
            words.share(row["coherent"]),
            "–" if retained is None else number(retained["perplexity_ratio"]["value"]),
            "–" if retained is None else percent(retained["agreement"]["value"]),
            "–" if quality is None else percent(quality["same"]["value"]),
        )
        last = row["arm"]
    return table


def layer_table(document: Mapping[str, Any]) -> Table:
    """Where the circuit lies and what each layer's part does."""
    factor = words.strength(document["choice"]["factor"])
    table = _table(f"layers at {factor}: flips{'  ' if document['mark'] else ''}{document['mark']}")
    for name in ("layer", "neurons", "alone", "all but it", "random", "p, Holm"):
        table.add_column(name, no_wrap=True, justify="right")
    for row in document["layers"]:
        shares = [
            "–" if row[part] is None else words.share(row[part]["flip"]) for part in ("alone", "all_but", "random")
        ]
        p = "–" if row["test"] is None else words.probability(row["test"]["p_holm"])
        table.add_row(str(row["layer"]), str(row["neurons"]), *shares, p)
    return table


def circuit_lines(document: Mapping[str, Any]) -> list[Text]:
    """What the tables come to."""
    lines = [Text.assemble((f"{visible(document['behavior'])}: ", "bold"), words.headline(document))]
    lines += [Text(f"  It {sentence}") for sentence in words.against_controls(document)]
    lines += [Text(sentence) for sentence in (words.cost(document), words.direct(document)) if sentence]
    lines += [Text(sentence) for sentence in words.against_base(document)]
    return [*lines, *(Text(mark, style="bold red") for mark in words.marks(document))]


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        title=Text(title),
        title_justify="left",
    )


def circuit_terminal(values: Mapping[str, Any], *, include_neurons: bool = False) -> Iterator[RenderableType]:
    """What a reader at a terminal is shown of a circuit.

    Args:
        values: The circuit's results, as a ledger holds them.
        include_neurons: Name neurons of a sensitive behavior on a model that is no organism.
    """
    document = shareable(circuit_document(values), include_neurons=include_neurons).model_dump(mode="json")
    yield from circuit_lines(document)
    yield ""
    yield Fitting(
        [ladder_table(document["ladder"], f"{document['prompts']['eligible']} eligible prompts", document["mark"])]
    )
    if document["layers"]:
        yield Fitting([layer_table(document)])
    if document["base"] is not None:
        yield Fitting([ladder_table(document["base"]["ladder"], f"the same circuit in {document['base']['model']}")])
    yield Text(
        "Shares with 95 % intervals over prompts and seeds; ppl ratio, tokens kept: undosed generic answers under "
        "the change; same answer: generic prompts answered anew.",
        style="dim",
    )
