"""Records: one plain dict per measured pair, with its model, its forecast and what its card knows; all that is scored.

Scores are pure functions of records, so the records that a law document carries give its numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.jobs.law.candidates import Role
from controlwindow.jobs.law.plan import LawPlan, ModelPlan
from controlwindow.jobs.law.session import ledger_path
from controlwindow.runs.ledger import Ledger

Record = Mapping[str, Any]

DIGITS = 5
"""Digits after the point that records keep; scores are taken of the rounded values."""

_FORECAST_KEYS = (
    "ceiling", "predictors", "constant", "median", "trigger", "method", "open", "probability_open", "open_if_effect",
    "probability_open_if_effect", "failure_mode",
)  # fmt: skip


@dataclass(frozen=True)
class Collected:
    """Everything that the ledgers of a validation hold for the document.

    Attributes:
        plan: The plan.
        records: Every measured pair, models in the order of the plan.
        models: By model: what else was measured (detector, details, generic text, notes).
    """

    plan: LawPlan
    records: tuple[Record, ...]
    models: dict[str, dict[str, Any]]


def collect(plan: LawPlan, out: Path) -> Collected:
    """Read the ledgers of a run directory; unfinished ones give what they have.

    Raises:
        LedgerError: A ledger is missing or cannot be read.
    """
    records: list[Record] = []
    models: dict[str, dict[str, Any]] = {}
    for entry in plan.models:
        with Ledger(ledger_path(out, entry)) as ledger:
            records += _records(ledger, entry)
            models[entry.name] = _further(ledger, entry)
    return Collected(plan, tuple(records), models)


def _records(ledger: Ledger, entry: ModelPlan) -> list[Record]:
    known = {
        (neuron, behavior, branch): answer for neuron, behavior, branch, answer in ledger.find("answers", "card") or []
    }
    scores = {name: record["neurons"] for name, record in ledger.find_all("first_order").items()}
    forecasts = ledger.find_all("forecast")
    committed = ledger.find("calibration", "evidence") or {"pairs": []}
    flips = {(p["behavior"], p["subject"]["neuron"], p["subject"]["branch"]): p for p in committed["pairs"]}
    found = []
    roles: tuple[Role, ...] = ("calibration", "held_out")
    for role in roles:
        for name, pair in ledger.find_all(f"pair {role}").items():
            forecast = forecasts.get(name)
            said = forecast or flips.get((pair["behavior"], pair["neuron"], pair["branch"]), {})
            record = {
                "model": entry.name,
                "lineage": entry.lineage,
                "family": entry.family,
                "width": entry.width,
                "layers": entry.layers,
                **pair,
                "flip": said.get("flip"),
                "behavior_class": said.get("behavior_class"),
                "answer": known.get((pair["neuron"], pair["behavior"], pair["branch"])),
                "first_order": scores.get(pair["behavior"], {}).get(pair["neuron"], {}),
            }
            for setting in ("known", "left_out"):
                if forecast is not None and setting in forecast:
                    record[setting] = {key: forecast[setting][key] for key in _FORECAST_KEYS}
            found.append(rounded(record))
    return found


def _further(ledger: Ledger, entry: ModelPlan) -> dict[str, Any]:
    coherence = ledger.find("coherence", "detector") or {"calibration": {}}
    found: dict[str, Any] = rounded(
        {
            "lineage": entry.lineage,
            "family": entry.family,
            "width": entry.width,
            "layers": entry.layers,
            "fingerprint": entry.fingerprint,
            "behaviors": [b.name for b in entry.behaviors],
            "skipped": ledger.find_all("skipped"),
            "versions": ledger.find("versions", "versions"),
            "detector": {
                "set_on_generic_text": {
                    key: coherence["calibration"].get(key)
                    for key in ("thresholds", "scale", "auc", "agreement", "agreement_interval", "total")
                },
                "checked_on_behaviors": ledger.find_all("detector check"),
            },
            "details": list(ledger.find_all("detail").values()),
            "generic_text": ledger.find("generic text", "influence"),
            "population": ledger.find("population", "law"),
            "screens_left_out": {n: r["notes"] for n, r in ledger.find_all("first_order").items() if r["notes"]},
        }
    )
    return found


def held_out(records: Iterable[Record], setting: str = "known") -> list[Record]:
    """Held-out records that have a forecast in a setting."""
    return [r for r in records if r["role"] == "held_out" and setting in r and r[setting]["ceiling"] is not None]


def to_table(records: Sequence[Record]) -> dict[str, Any]:
    """Records as columns and rows, nested keys joined by slashes; what a record lacks is `ABSENT`, not null."""
    flat = [_flatten(record) for record in records]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    return {"columns": columns, "rows": [[row.get(column, ABSENT) for column in columns] for row in flat]}


def from_table(table: Mapping[str, Any]) -> tuple[Record, ...]:
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


ABSENT = ""
_JOINT = "/"


def _flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{path}{_JOINT}{key}" if path else key
        if isinstance(item, Mapping):
            found |= _flatten(item, name)
        else:
            found[name] = item
    return found


def rounded(value: Any) -> Any:
    """Floats rounded to `DIGITS`, tuples as lists."""
    return map_floats(value, lambda number: round(number, DIGITS) + 0.0)


def significant(value: Any) -> Any:
    """Floats to six significant digits, so that small p-values stay what they are; tuples as lists."""
    return map_floats(value, lambda number: float(f"{number:.6g}"))


def map_floats(value: Any, change: Callable[[float], float]) -> Any:
    """Change every float in nested plain values."""
    if isinstance(value, float):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_floats(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_floats(item, change) for item in value]
    return value
