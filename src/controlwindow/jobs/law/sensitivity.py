"""What thresholds depend on beside the neuron: coherence threshold, horizon, decoding length, positions, outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from controlwindow.jobs.law.records import Record

Detail = Mapping[str, Any]


def sensitivities(records: Sequence[Record], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How far thresholds move, c minus c as planned, on the pairs that reach both.

    Args:
        records: All records.
        models: What else was measured in each model (`records.Collected.models`).
    """
    details = [detail for model in models.values() for detail in model["details"]]
    return {
        "ceiling_by_coherence_threshold": _by_severity(details),
        "ceiling_by_horizon": _by_horizon(records),
        "longer_decoding": {
            value: _change((d["as_planned"][value], d["longer"][value]) for d in details if d["longer"])
            for value in ("ceiling", "trigger")
        },
        "other_positions": {
            value: _change((d["as_planned"][value], d["positions"][value]) for d in details)
            for value in ("ceiling", "trigger")
        },
        "other_prompts": {
            value: _change((d["as_planned"][value], d["other_prompts"][value]) for d in details if "other_prompts" in d)
            for value in ("ceiling", "trigger")
        },
        "triggers_by_outcome": _outcomes(records),
        "propagation_by_region": _propagation(records),
        "generic_text": {name: model["generic_text"] for name, model in models.items() if model["generic_text"]},
    }


def _change(pairs: Iterable[tuple[float | None, float | None]]) -> dict[str, Any]:
    """Mean and mean absolute change, and how many lost or gained the threshold."""
    listed = list(pairs)
    moved = np.array([after - before for before, after in listed if before is not None and after is not None])
    return {
        "n": len(moved),
        "mean_change": float(moved.mean()) if len(moved) else None,
        "mean_absolute_change": float(np.abs(moved).mean()) if len(moved) else None,
        "lost": sum(before is not None and after is None for before, after in listed),
        "gained": sum(before is None and after is not None for before, after in listed),
    }


def _by_severity(details: Sequence[Detail]) -> dict[str, Any]:
    factors = list(dict.fromkeys(factor for d in details for factor in d["by_severity"]))
    return {factor: _change((d["by_severity"]["1.0"], d["by_severity"][factor]) for d in details) for factor in factors}


def _by_horizon(records: Sequence[Record]) -> dict[str, Any]:
    """Ceilings at earlier horizons against the last one, by the earlier one's share of the last."""
    found: dict[str, list[tuple[float | None, float | None]]] = {}
    for r in records:
        horizons = sorted(r["ceilings_by_horizon"], key=int)
        for horizon in horizons[:-1]:
            share = f"{int(horizon) / int(horizons[-1]):.2f} of the last horizon"
            found.setdefault(share, []).append((r["ceiling"], r["ceilings_by_horizon"][horizon]))
    return {share: _change(pairs) for share, pairs in sorted(found.items())}


def _outcomes(records: Sequence[Record]) -> dict[str, Any]:
    """By behavior, outcome and horizon: how many pairs reach a trigger below the ceiling, and the median of it."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for r in records:
        for outcome, horizons in r.get("triggers_by_outcome", {}).items():
            for horizon, trigger in horizons.items():
                place = values.setdefault(r["behavior"], {}).setdefault(outcome, {}).setdefault(horizon, [])
                if trigger is not None:
                    place.append(trigger)
    return {
        behavior: {
            outcome: {
                horizon: {"reached": len(found), "median": float(np.median(found)) if found else None}
                for horizon, found in sorted(horizons.items(), key=lambda item: int(item[0]))
            }
            for outcome, horizons in outcomes.items()
        }
        for behavior, outcomes in values.items()
    }


def _propagation(records: Sequence[Record]) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    for r in records:
        if r["propagation"] is not None:
            found.setdefault(r["region"], []).append(r["propagation"])
    return {
        region: {"n": len(values), "median": float(np.median(values)), "least": min(values)}
        for region, values in sorted(found.items())
    }
