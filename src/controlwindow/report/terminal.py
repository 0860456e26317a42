"""Tables for a terminal of any width: what does not fit is left out or stacked, never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from controlwindow.text import printable


class Fitting:
    """The first of several ways to show the same that fits the terminal whole.

    Args:
        ways: Each a list of tables that are shown one below the other, the fullest first. Where none fits, the rows of
            the last are written out one below the other.
    """

    def __init__(self, *ways: Sequence[Table]) -> None:
        self.ways = ways

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Choose by the room there is."""
        for tables in self.ways:
            if all(_width(table, console, options) <= options.max_width for table in tables):
                yield from tables
                return
        for table in self.ways[-1]:
            yield from _stacked(table)


def plain_table(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    *,
    optional: Sequence[str] = (),
) -> Fitting:
    """A simple table.

    Args:
        columns: Heading and justification of each column.
        rows: Cells of each row, as markup.
        title: What stands above it, as markup.
        optional: Headings of columns that are left out, in this order, where there is no room.
    """
    ways = []
    for count in range(len(optional) + 1):
        table = Table(
            title=None if title is None else printable(title),
            title_justify="left",
            box=None,
            pad_edge=False,
            header_style="bold",
        )
        shown = [place for place, (heading, _) in enumerate(columns) if heading not in optional[:count]]
        for place in shown:
            heading, justify = columns[place]
            table.add_column(printable(heading), justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for row in rows:
            # Before it is laid out: what is written as its code point takes more room.
            table.add_row(*(printable(row[place]) for place in shown))
        ways.append([table])
    return Fitting(*ways)


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(max_width=10_000, width=10_000), table).maximum


def _stacked(table: Table) -> Iterator[RenderableType]:
    """A table's rows written out: the first cell, then each of the others under its heading, wrapped as text is."""
    if table.title:
        yield table.title
    cells = [list(column.cells) for column in table.columns]
    headings = [str(column.header) for column in table.columns]
    for row in zip(*cells, strict=True):
        first, *others = (cell if isinstance(cell, Text) else Text.from_markup(str(cell)) for cell in row)
        parts = [
            Text.assemble((f"{heading} ", "dim"), cell) if heading else cell
            for heading, cell in zip(headings[1:], others, strict=True)
            if cell.plain.strip()
        ]
        yield (
            Text.assemble(first, "  ", Text(" · ", style="dim").join(parts))
            if first.plain.strip()
            else Text(" · ", style="dim").join(parts)
        )
