"""Cases: neurons that share a write column are one, however many of them were measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controlwindow.jobs.law.records import Record


class Distinct(NamedTuple):
    """Records in which every case counts once.

    Attributes:
        records: Those that are scored.
        crossed: Held-out pairs left out because a copy of their neuron was for calibration.
        repeated: Pairs left out because a copy of their neuron was measured for the same on the same prompts.
    """

    records: tuple[Record, ...]
    crossed: int
    repeated: int


def column_of(record: Record) -> str:
    """Name of the write column: the first neuron of the model that has it."""
    return str(record.get("column") or record["neuron"])


def distinct(records: Iterable[Record]) -> Distinct:
    """Leave out what a copy has already told: held-out pairs whose column was fitted on, and repeats."""
    listed = list(records)
    fitted = {(r["model"], column_of(r)) for r in listed if r["role"] == "calibration"}
    seen: set[tuple[str, str, int, str]] = set()
    kept: list[Record] = []
    crossed = repeated = 0
    for r in listed:
        column = column_of(r)
        if r["role"] == "held_out" and (r["model"], column) in fitted:
            crossed += 1
            continue
        key = (r["model"], r["behavior"], r["branch"], column)
        if key in seen:
            repeated += 1
            continue
        seen.add(key)
        kept.append(r)
    return Distinct(tuple(kept), crossed, repeated)


def copies(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Pairs of copies that were measured for the same on disjoint prompts: one for calibration, one held out."""
    found: dict[tuple[str, str, int, str], Record] = {}
    for r in records:
        if r["role"] == "calibration":
            found.setdefault((r["model"], r["behavior"], r["branch"], column_of(r)), r)
    pairs = []
    for r in records:
        first = found.get((r["model"], r["behavior"], r["branch"], column_of(r)))
        if r["role"] == "held_out" and first is not None:
            pairs.append((first, r))
    return pairs
