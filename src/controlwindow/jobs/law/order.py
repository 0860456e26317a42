"""Proof of the order of events, from the ledgers alone: calibrated, fitted, predicted, and only then measured.

Every event of a ledger has a place in one sequence. Beyond places, what is committed is computed again: the fits from
the calibration pairs of all ledgers, and every forecast from the fits. A forecast that was changed afterwards, or
written after its neuron's first rollout, does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.jobs.law.fits import Fit, digest_of, fit_all, fits_digest
from controlwindow.jobs.law.forecasts import FITTED, forecast_again
from controlwindow.jobs.law.plan import LawPlan
from controlwindow.jobs.law.session import ledger_path
from controlwindow.runs.ledger import Ledger


@dataclass(frozen=True)
class OrderProof:
    """What the ledgers say of the order.

    Attributes:
        proved: Whether every check holds.
        problems: Each check that does not hold, with the model and the pair.
        forecasts: Forecasts that were checked.
        models: Ledgers that were checked.
    """

    proved: bool
    problems: tuple[str, ...]
    forecasts: int
    models: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "proved": self.proved,
            "problems": list(self.problems),
            "forecasts": self.forecasts,
            "models": self.models,
        }


def prove_order(plan: LawPlan, out: Path, fits: Mapping[str, Fit] | None = None) -> OrderProof:
    """Check every model's ledger.

    Args:
        plan: The plan.
        out: The run directory.
        fits: What `fit_all` gave on the committed evidence, where it was just computed; None fits again.

    Raises:
        LedgerError: A ledger is missing or cannot be read.
    """
    evidence: list[dict[str, Any]] = []
    problems: list[str] = []
    for entry in plan.models:
        with Ledger(ledger_path(out, entry)) as ledger:
            found = ledger.find("calibration", "evidence")
        if found is None:
            problems.append(f"{entry.name}: no calibration is committed")
        else:
            evidence.append(found)
    if problems:
        return OrderProof(False, tuple(problems), 0, len(plan.models))
    fits = fit_all(evidence) if fits is None else fits
    digests = fits_digest(fits, evidence)
    count = 0
    for entry in plan.models:
        with Ledger(ledger_path(out, entry)) as ledger:
            said, checked = _check_ledger(ledger, fits, digests, entry.fingerprint, entry.lineage)
        problems += [f"{entry.name}: {problem}" for problem in said]
        count += checked
    return OrderProof(not problems, tuple(problems), count, len(plan.models))


def _check_ledger(
    ledger: Ledger, fits: Mapping[str, Fit], digests: Mapping[str, str], fingerprint: str, lineage: str
) -> tuple[list[str], int]:
    problems: list[str] = []
    calibrated = ledger.sequence("calibration", "evidence") or 0
    problems += _calibration(ledger, calibrated)
    committed = ledger.find_all("fit")
    if not committed:
        return [*problems, "no fit is committed"], 0
    fitted = [ledger.sequence("fit", name) or 0 for name in committed]
    if min(fitted) < calibrated:
        problems.append("a fit was committed before the calibration")
    for name, values in committed.items():
        if name not in fits or any(values[key] != digest for key, digest in digests.items()):
            problems.append(f"the fit {name!r} does not follow from the committed calibration pairs")
        elif digest_of({k: v for k, v in values.items() if k not in digests}) != digest_of(fits[name].to_record()):
            problems.append(f"the committed fit {name!r} is not the one that its hash stands for")
    forecasts = ledger.find_all("forecast")
    for name, forecast in forecasts.items():
        place = ledger.sequence("forecast", name) or 0
        behavior, neuron, _ = name.split("/")
        rollout = ledger.first_rollout(neuron)
        if place < max(fitted):
            problems.append(f"{name} was predicted before the fit")
        if rollout is not None and rollout < place:
            problems.append(f"{name} was rolled out before it was predicted")
        again = forecast_again(fits, lineage, fingerprint, behavior, forecast)
        stated = {key: value for key, value in forecast.items() if key != "digest"}
        if digest_of(again) != digest_of(stated) or forecast["digest"] != digest_of(stated):
            problems.append(f"{name}: the committed forecast is not what the fit predicts")
    problems += [
        f"{name} was measured without a forecast" for name in ledger.find_all("pair held_out") if name not in forecasts
    ]
    return problems, len(forecasts)


def _calibration(ledger: Ledger, calibrated: int) -> list[str]:
    """Calibration pairs were measured before they were committed, say the same there, and share no held-out neuron."""
    problems = []
    evidence = ledger.find("calibration", "evidence") or {"pairs": []}
    measured = ledger.find_all("pair calibration")
    for pair, (name, record) in zip(evidence["pairs"], measured.items(), strict=False):
        place = ledger.sequence("pair calibration", name)
        if place is None or place > calibrated:
            problems.append(f"{name} was measured after the calibration was committed")
        if any(pair[key] != record[key] for key in FITTED):
            problems.append(f"{name}: the committed calibration is not what was measured")
    if len(evidence["pairs"]) != len(measured):
        problems.append(f"{len(measured)} calibration pairs were measured, {len(evidence['pairs'])} are committed")
    neurons = {record["neuron"] for record in measured.values()}
    held_out = {name.split("/")[1] for name in ledger.find_all("forecast")}
    return problems + [f"{neuron} is in calibration and held out" for neuron in sorted(neurons & held_out)]


def describe(problems: Sequence[str], most: int = 3) -> str:
    """The first problems in one line."""
    more = f", and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more
