"""Plain values: floats rounded in whatever they are nested in, and records as tables of columns and rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DIGITS = 5
"""Digits after the point that records keep; scores are taken of the rounded values."""

ABSENT = ""
_JOINT = "/"


def map_floats(value: Any, change: Callable[[float], float]) -> Any:
    """Change every float in nested plain values."""
    if isinstance(value, float):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_floats(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_floats(item, change) for item in value]
    return value


def round_floats(value: Any) -> Any:
    """Round every float in nested plain values to 6 digits, so that equal runs print equal documents."""
    return map_floats(value, lambda number: round(number, 6) + 0.0)


def rounded(value: Any) -> Any:
    """Floats rounded to `DIGITS`, tuples as lists."""
    return map_floats(value, lambda number: round(number, DIGITS) + 0.0)


def significant(value: Any) -> Any:
    """Floats to six significant digits, so that small p-values stay what they are; tuples as lists."""
    return map_floats(value, lambda number: float(f"{number:.6g}"))


def to_table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Records as columns and rows, nested keys joined by slashes; what a record lacks is `ABSENT`, not null."""
    flat = [_flatten(record) for record in records]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    return {"columns": columns, "rows": [[row.get(column, ABSENT) for column in columns] for row in flat]}


def from_table(table: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Read `to_table`."""
    records = []
    for values in table["rows"]:
        record: dict[str, Any] = {}
        for column, value in zip(table["columns"], values, strict=True):
            if value == ABSENT:
                continue
            *path, last = column.split(_JOINT)
            place = record
            for key in path:
                place = place.setdefault(key, {})
            place[last] = value
        records.append(record)
    return tuple(records)


def _flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{path}{_JOINT}{key}" if path else key
        if isinstance(item, Mapping):
            found |= _flatten(item, name)
        else:
            found[name] = item
    return found
