"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table


def plain_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """A simple table; columns are (heading, justification)."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading, justify in columns:
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    return table
