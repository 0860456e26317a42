"""Tables of prompts: files read by their suffix, and data sets of the hub."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars

from controlwindow.behaviors.files import LARGEST_PROMPTS, check_regular, parse_json, read_text
from controlwindow.errors import BehaviorError

#: Largest Parquet file; its columns are read one by one.
LARGEST_PARQUET = 1 << 30
#: Most rows of a table.
MOST_ROWS = 5_000_000
#: The column of a file that has no columns: lines of text, a list of strings.
TEXT = "text"

_ABSENT = "no prompt file"
_BESIDE = "give its path relative to the behavior file, or write the prompts inline"
_CELL = 1 << 24


class Table(NamedTuple):
    """Rows with named cells.

    Attributes:
        name: File or data set, as errors name it.
        columns: Names of the columns, in order; in JSON, all that any row has.
        rows: One mapping a row; a cell may be absent or None.
        places: Where each row stands, as "line 3" or "row 3".
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]

    def require(self, columns: Sequence[str]) -> None:
        """Refuse columns that the table does not have.

        Raises:
            BehaviorError: Names the first one, and those that there are.
        """
        for column in columns:
            if column not in self.columns:
                there = ", ".join(f"'{name}'" for name in self.columns[:20]) or "none"
                hint = "write the name of one of them"
                if len(self.columns) == 1 and ";" in self.columns[0]:
                    hint = "its cells seem to be separated by semicolons: save it with commas"
                raise BehaviorError(f"{self.name} has no column '{column}'; its columns are {there}", hint)


def read_table(path: Path, *, header: bool = True) -> Table:
    """Read a file by its suffix.

    Args:
        path: The file. `.txt` has one row a line, with the column `text`; so has a `.json` list of strings.
        header: Whether the first row of a CSV or TSV file names its columns; else they are `#1`, `#2` and so on.

    Raises:
        BehaviorError: The suffix is unknown, or the file is unreadable or malformed; names file and line.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BehaviorError(
            f"{path}: the kind of file '{path.suffix or path.name}' is unknown",
            f"give a file that ends in {', '.join(_READERS)}",
        )
    if not header and path.suffix.lower() not in {".csv", ".tsv"}:
        raise BehaviorError(
            f"{path}: columns are numbered (#1) in CSV and TSV files without a header line only",
            "write the column's name",
        )
    table = reader(path, header)
    if not table.rows:
        raise BehaviorError(f"{path} has no rows", "give a file with prompts")
    return table


def load_dataset_table(name: str, config: str | None, split: str) -> Table:
    """Read a data set of the hub through the library `datasets`, an extra; no code of a data set is run.

    Args:
        name: Its name there, as in ORGANISATION/NAME.
        config: Its configuration, where it has several.
        split: Its split.

    Raises:
        BehaviorError: The library is not installed, or the data set cannot be loaded.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise BehaviorError(
            f"the data set '{name}' needs the library datasets, which is not installed",
            "pip install 'controlwindow[datasets]', or save the rows as Parquet, CSV or JSON lines and give the file",
        ) from error
    try:
        found = datasets.load_dataset(name, config, split=split)
        columns = tuple(map(str, found.column_names))
        rows = tuple(dict(row) for row in found)
    except Exception as error:
        raise BehaviorError(
            f"the data set '{name}' (split '{split}') cannot be loaded: {type(error).__name__}: {error}",
            "check its name, configuration and split; without a network, give a local file",
        ) from error
    return Table(f"data set {name}", columns, rows, tuple(f"row {number}" for number in range(1, len(rows) + 1)))


def _text(path: Path) -> str:
    return read_text(path, LARGEST_PROMPTS, absent=_ABSENT, hint=_BESIDE)


def _read_lines(path: Path, header: bool) -> Table:
    lines = [(number, line.strip()) for number, line in enumerate(_text(path).split("\n"), start=1)]
    filled = [(number, line) for number, line in lines if line]
    return Table(
        str(path), (TEXT,), tuple({TEXT: line} for _, line in filled), tuple(f"line {number}" for number, _ in filled)
    )


def _read_json_lines(path: Path, header: bool) -> Table:
    rows, places = [], []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            rows.append(_row(parse_json(line, where, "write one JSON object per line"), where))
            places.append(f"line {number}")
    return _of_rows(path, rows, places)


def _read_json(path: Path, header: bool) -> Table:
    hint = 'write a list of objects, as in [{"prompt": "What is a tide?"}], or of strings'
    document = parse_json(_text(path), str(path), hint)
    if not isinstance(document, list):
        raise BehaviorError(f"{path}: a {type(document).__name__} where a JSON list is needed", hint)
    places = [f"row {number}" for number in range(1, len(document) + 1)]
    rows = [
        {TEXT: row} if isinstance(row, str) else _row(row, f"{path}, {place}")
        for row, place in zip(document, places, strict=True)
    ]
    return _of_rows(path, rows, places)


def _row(row: object, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BehaviorError(
            f"{where}: a {type(row).__name__} where a JSON object is needed", 'write {"prompt": "What is a tide?"}'
        )
    return row


def _of_rows(path: Path, rows: list[dict[str, Any]], places: list[str]) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(str(path), columns, tuple(rows), tuple(places))


def _read_csv(path: Path, header: bool) -> Table:
    return _separated(path, _text(path), ",", header, csv.QUOTE_MINIMAL)


def _read_tsv(path: Path, header: bool) -> Table:
    text = _text(path)
    try:
        return _separated(path, text, "\t", header, csv.QUOTE_MINIMAL)
    except BehaviorError:
        # Most tab-separated files quote nothing, and a quotation mark that begins a cell is one.
        return _separated(path, text, "\t", header, csv.QUOTE_NONE)


def _separated(path: Path, text: str, delimiter: str, header: bool, quoting: Any) -> Table:
    limit = csv.field_size_limit(_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    cells: list[list[str]] = []
    lines: list[int] = []
    begin = 1
    try:
        for row in reader:
            if row:
                cells.append(row)
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise BehaviorError(
            f"{path}, line {begin}: not a valid row: {error}",
            'cells with a separator, a quotation mark or a new line are written in quotation marks, as in "a ""b"""',
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not cells:
        return Table(str(path), (), (), ())
    if header:
        columns, cells, lines = tuple(name.strip() for name in cells[0]), cells[1:], lines[1:]
        twice = [name for number, name in enumerate(columns) if name in columns[:number]]
        if twice:
            raise BehaviorError(f"{path}: two columns are named '{twice[0]}'", "give every column a name of its own")
    else:
        columns = tuple(f"#{number}" for number in range(1, len(cells[0]) + 1))
    for row, line in zip(cells, lines, strict=True):
        if len(row) != len(columns):
            raise BehaviorError(
                f"{path}, line {line}: {len(row)} cells where there are {len(columns)} columns",
                "cells that hold a separator are written in quotation marks",
            )
    rows = tuple(dict(zip(columns, row, strict=True)) for row in cells)
    return Table(str(path), columns, rows, tuple(f"line {line}" for line in lines))


def _read_parquet(path: Path, header: bool) -> Table:
    check_regular(path, LARGEST_PARQUET, absent=_ABSENT, hint=_BESIDE)
    try:
        frame = polars.scan_parquet(path)
        count = int(frame.select(polars.len()).collect().item())
        if count > MOST_ROWS:
            raise BehaviorError(f"{path} has {count:,} rows, at most {MOST_ROWS:,} are read", "take a part of them")
        read = frame.collect()
    except (polars.exceptions.PolarsError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise BehaviorError(f"{path} cannot be read as Parquet: {first}", "write the file again") from error
    rows = tuple(read.iter_rows(named=True))
    return Table(str(path), tuple(read.columns), rows, tuple(f"row {number}" for number in range(1, len(rows) + 1)))


_READERS: dict[str, Callable[[Path, bool], Table]] = {
    ".txt": _read_lines,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}
