"""Records: one plain dict per measured pair, with its model, its forecast and what its card knows; all that is scored.

Scores are pure functions of records, so the records that a law document carries give its numbers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.jobs.law.candidates import Role
from controlwindow.jobs.law.plan import LawModel, LawPlan
from controlwindow.jobs.law.session import ledger_path
from controlwindow.runs.ledger import Ledger
from controlwindow.values import rounded

Record = Mapping[str, Any]

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


def _records(ledger: Ledger, entry: LawModel) -> list[Record]:
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


def _further(ledger: Ledger, entry: LawModel) -> dict[str, Any]:
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
            "screens_left_out": {n: r["notes"] for n, r in ledger.find_all("first_order").items() if r["notes"]},
        }
    )
    return found


def held_out(records: Iterable[Record], setting: str = "known") -> list[Record]:
    """Held-out records that have a forecast in a setting."""
    return [r for r in records if r["role"] == "held_out" and setting in r and r[setting]["ceiling"] is not None]
