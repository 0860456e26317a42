"""Where prompts come from: written in the file, or cells of a table's column, chosen and sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Strict, Tag, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.languages import Language
from controlwindow.behaviors.tables import TEXT, Table, load_dataset_table, read_table
from controlwindow.behaviors.text import is_blank
from controlwindow.errors import BehaviorError
from controlwindow.statistics import stable_seed

_FROZEN = ConfigDict(frozen=True, extra="forbid")

_Scalar = Annotated[str, Strict()] | Annotated[bool, Strict()] | Annotated[int, Strict()] | Annotated[float, Strict()]

#: Fields of a prompt that a source may take from further columns.
FIELDS = ("language", "steps", "about", "source", "target")


class TableSource(BaseModel):
    """Prompts in a column of a table.

    Attributes:
        file: A file beside the behavior file, read by its suffix.
        dataset: A data set of the hub instead of a file; needs the extra `datasets`.
        config: The data set's configuration.
        split: The data set's split.
        column: The column of the user's messages, or an odd number of columns for a conversation: the user's and the
            assistant's messages in turn. `#1` is the first column of a CSV or TSV file without a header line. May be
            left out where a file has one column, or one named `text`.
        where: Cells that a row must have, by column: a value, or a list of which it is one.
        seed: Shuffles the rows; without it they stay in the order of the table.
        skip: Rows passed over at the beginning, after shuffling; so splits take disjoint parts of one table.
        n: How many rows are taken; all where it is left out.
        language: ISO 639-1 code of the prompts.
        fields: Further columns by the field of the prompt that they fill.
    """

    model_config = _FROZEN

    file: Annotated[str, Field(min_length=1)] | None = None
    dataset: Annotated[str, Field(min_length=1)] | None = None
    config: str | None = None
    split: str = "train"
    column: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    where: dict[str, _Scalar | tuple[_Scalar, ...]] = {}
    seed: Annotated[int, Strict(), Field(ge=0)] | None = None
    skip: Annotated[int, Strict(), Field(ge=0)] = 0
    n: Annotated[int, Strict(), Field(ge=1)] | None = None
    language: Language | None = None
    fields: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_table(self) -> TableSource:
        if (self.file is None) == (self.dataset is None):
            raise PydanticCustomError("source", "give either 'file' or 'dataset'")
        if self.dataset is None and (self.config is not None or "split" in self.model_fields_set):
            raise PydanticCustomError("source", "'config' and 'split' belong to a 'dataset'")
        if isinstance(self.column, tuple) and len(self.column) % 2 == 0:
            raise PydanticCustomError("source", "a conversation has the user's message first and last")
        unknown = sorted(set(self.fields) - set(FIELDS))
        if unknown:
            raise PydanticCustomError(
                "source",
                "'{name}' is no field of a prompt that a column can fill; those are {known}",
                {"name": unknown[0], "known": ", ".join(FIELDS)},
            )
        return self


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a file name"
    return "a table" if isinstance(value, Mapping | TableSource) else "a list of prompts"


#: Prompts written in the file, the name of a file, or a column of a table.
PromptTexts = Annotated[
    Annotated[str, Tag("a file name")]
    | Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Tag("a list of prompts")]
    | Annotated[TableSource, Tag("a table")],
    Discriminator(_kind),
]


def _by_role(value: object) -> object:
    # `evaluate = ["..."]`, `evaluate = "file.txt"` and `evaluate = {file = …}` are short for the positive role alone.
    names_table = isinstance(value, Mapping) and ("file" in value or "dataset" in value)
    return {"positive": value} if isinstance(value, str | list | tuple) or names_table else value


class SplitPrompts(BaseModel):
    """Prompts of one split by role."""

    model_config = _FROZEN

    positive: PromptTexts = ()
    negative: PromptTexts = ()


_SplitTable = Annotated[SplitPrompts, BeforeValidator(_by_role)]


class PromptSources(BaseModel):
    """Where a behavior's prompts stand: a file of whole prompts, and files, tables or lists by split."""

    model_config = _FROZEN

    file: str | None = None
    find: _SplitTable = SplitPrompts()
    select: _SplitTable = SplitPrompts()
    evaluate: _SplitTable = SplitPrompts()


class ContrastSources(BaseModel):
    """X+ and X− for screens, where they are not the roles of the find split."""

    model_config = _FROZEN

    positive: PromptTexts
    negative: PromptTexts


class Found(NamedTuple):
    """A prompt of a table, before it is a prompt of a behavior.

    Attributes:
        turns: The messages of the conversation, the user's first and last.
        fields: Further fields of the prompt.
        place: Where it stands, for errors.
    """

    turns: tuple[str, ...]
    fields: Mapping[str, Any]
    place: str


def read_source(source: str | Sequence[str] | TableSource, folder: Path) -> list[Found]:
    """The prompts of a source, in order.

    Args:
        source: Prompts as written, the name of a file, or a column of a table.
        folder: Where files are looked for.

    Raises:
        BehaviorError: The table cannot be read, lacks a column or rows, or a cell is empty or no text; names the place.
    """
    if isinstance(source, str):
        source = TableSource(file=source)
    if not isinstance(source, TableSource):
        return [Found((text,), {}, f"prompt {number}") for number, text in enumerate(source, start=1)]
    table = open_table(source, folder)
    rows = choose(table, source)
    found, empty = [], []
    for row in rows:
        try:
            found.append(prompt_of(table, row, source))
        except EmptyCell:
            empty.append(row)
    if empty:
        raise BehaviorError(
            f"{table.name}: {len(empty)} of {len(rows)} prompts are empty, the first in {table.places[min(empty)]}",
            "fill or remove these rows; `controlwindow behaviors new` leaves them out and says how many",
        )
    return found


def open_table(source: TableSource, folder: Path) -> Table:
    """The table of a source, checked for its columns.

    Raises:
        BehaviorError: It cannot be read, or lacks a column.
    """
    columns = _columns(source)
    if source.file is None:
        table = load_dataset_table(str(source.dataset), source.config, source.split)
    else:
        numbered = [name for name in (*columns, *source.where, *source.fields.values()) if name.startswith("#")]
        table = read_table(folder / source.file, header=not numbered)
    if not columns and not (TEXT in table.columns or len(table.columns) == 1):
        there = ", ".join(f"'{name}'" for name in table.columns[:20])
        raise BehaviorError(
            f"{table.name} has several columns and none is chosen; its columns are {there}",
            f'write {{file = "{source.file}", column = "…"}}',
        )
    table.require([*columns, *source.where, *source.fields.values()])
    return table


def choose(table: Table, source: TableSource) -> list[int]:
    """Numbers of the rows that a source takes, in order.

    Raises:
        BehaviorError: There are not as many.
    """
    rows = [number for number, row in enumerate(table.rows) if _meets(row, source.where)]
    if source.seed is not None:
        random = np.random.default_rng(stable_seed("prompts", source.seed))
        rows = [rows[place] for place in random.permutation(len(rows))]
    taken = rows[source.skip : None if source.n is None else source.skip + source.n]
    if len(taken) < (source.n or 1):
        condition = " that meet 'where'" if source.where else ""
        raise BehaviorError(
            f"{table.name} has {len(rows)} rows{condition}, {source.skip + (source.n or 1)} are needed",
            "lower n or skip" if source.n or source.skip else "check the values of 'where'",
        )
    return taken


class EmptyCell(Exception):
    """A cell that holds nothing to be seen."""


def prompt_of(table: Table, number: int, source: TableSource) -> Found:
    """The prompt of one row.

    Raises:
        EmptyCell: A message is empty.
        BehaviorError: A message is no text.
    """
    row, place = table.rows[number], f"{table.name}, {table.places[number]}"
    columns = _columns(source) or (TEXT if TEXT in table.columns else table.columns[0],)
    cells = [row.get(column) for column in columns]
    if len(cells) == 1 and isinstance(cells[0], list | tuple):
        cells = list(cells[0])
        if len(cells) % 2 == 0:
            raise BehaviorError(
                f"{place}: '{columns[0]}' holds {len(cells)} messages; a conversation begins and ends with the user's",
                "give columns of single messages, the user's and the assistant's in turn",
            )
    for cell in cells:
        if cell is not None and not isinstance(cell, str):
            raise BehaviorError(
                f"{place}: a {type(cell).__name__} in '{columns[0]}' where text is needed", "name a column of text"
            )
        if cell is None or is_blank(cell):
            raise EmptyCell
    fields: dict[str, Any] = {"language": source.language} if source.language else {}
    for name, column in source.fields.items():
        cell = row.get(column)
        fields[name] = cell if name == "language" or not isinstance(cell, str) else (cell,)
    return Found(tuple(str(cell).strip() for cell in cells), fields, place)


def _columns(source: TableSource) -> tuple[str, ...]:
    return (source.column,) if isinstance(source.column, str) else (source.column or ())


def _meets(row: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    return all(
        _plain(row.get(column)) in map(_plain, wanted if isinstance(wanted, tuple) else (wanted,))
        for column, wanted in where.items()
    )


def _plain(value: object) -> str:
    """A cell as it is written in a file without types."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
