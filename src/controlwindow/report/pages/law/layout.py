"""A table of text, and how it is written for a page and for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controlwindow.report.wording import number


class Table(NamedTuple):
    """A table of text: caption, headings, rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def to_markdown(table: Table) -> str:
    """A pipe table under its caption.

    Example:
        >>> print(to_markdown(Table("Two.", ("a", "b"), (("1", "x|y"),))))
        Two.
        <BLANKLINE>
        | a | b |
        | --- | --- |
        | 1 | x\\|y |
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (table.columns, *table.rows)]
    written = [f"| {' | '.join(row)} |" for row in lines]
    written.insert(1, f"|{' --- |' * len(table.columns)}")
    return "\n".join([table.caption, "", *written])


def to_latex(table: Table) -> str:
    """A booktabs table.

    Example:
        >>> to_latex(Table("Two.", ("a",), (("50 %",),))).splitlines()[5]
        '50 \\\\% \\\\\\\\'
    """
    rows = [" & ".join(map(_escaped, row)) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(table.caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}\toprule",
            " & ".join(map(_escaped, table.columns)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule\end{tabular}",
            r"\end{table}",
        ]
    )


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Two ends in brackets; nothing where there is no interval."""
    return "" if bounds is None else f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def small(p_value: float) -> str:
    """A p-value to two digits.

    Example:
        >>> small(0.5), small(3e-7)
        ('0.5', '3e-07')
    """
    return f"{p_value:.2g}"


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "τ": r"$\tau$",
          "α": r"$\alpha$", "×": r"$\times$", "−": "$-$", "–": "--", "<": "$<$", ">": "$>$", "|": r"$|$"}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
