"""The smallest run of every kind that still has something to say, as command lines, and what it is pinned by."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent
"""Each kind's results lie here as `KIND.json`; `python tests/golden/write.py` writes them anew."""

BOOKKEEPING = ("chunk", "commit", "sensitive")
"""Events that the ledger writes of itself."""

REFUSAL, LANGUAGE = "L3.N80", "L4.N160"
"""Planted in organism:switch."""


def command_lines(refusal: Path, language: Path) -> dict[str, list[str]]:
    """By kind of run the words that begin it, all but where its directory lies.

    Args:
        refusal: A small behavior file with a contrast.
        language: A small behavior file with a contrast and pairs.
    """
    model = "organism:switch"
    return {
        "audit": ["audit", model, "-b", str(refusal), "-n", REFUSAL, "--top", "1", "--screen", "contrastive"],
        "circuit": ["circuit", model, "-b", str(refusal), "--top", "4", "--factor", "0", "--seeds", "1", "--no-base"],
        "probe": ["probe", model, "-b", str(language), "--sizes", "1,4"],
        "comparison": ["compare", model, "-b", str(language), "-n", LANGUAGE, "--method", "add", "--method",
                       "mean_difference", "--level", "0.5"],
        "law": ["validate", model, "-b", str(language), "--calibration", "2", "--held-out", "2", "--screened", "0",
                "--natural", "0", "--prompts", "8", "--detailed", "0", "--screen", "readout", "--tier", "0"],
        "census": ["organisms", "census", "switch", "-b", "language", "--neurons", "2", "--prompts", "8"],
    }  # fmt: skip


def pinned(document: Any, ledgers: list[Path]) -> dict[str, Any]:
    """What a run is pinned by: its results, and its ledgers' kinds of records and of cells with how many there are."""
    # The envelope says what a document is, which is pinned elsewhere.
    results = {key: value for key, value in document.items() if key != "schema"} if document else document
    return {"results": results, "ledgers": [_contents(path) for path in sorted(ledgers)]}


def _contents(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(path)
    try:
        plans = dict(connection.execute("SELECT name, payload FROM event WHERE kind = 'plan'"))
        records = Counter(kind for (kind,) in connection.execute("SELECT kind FROM event") if kind not in BOOKKEEPING)
        cells = Counter(json.loads(key)[0] for (key,) in connection.execute("SELECT key FROM cell"))
    finally:
        connection.close()
    return {
        "plans": {name: _without_paths(json.loads(payload)) for name, payload in plans.items()},
        "records": dict(sorted(records.items())),
        "cells": dict(sorted(cells.items())),
    }


def _without_paths(plan: Any) -> Any:
    if isinstance(plan, dict):
        return {key: _without_paths(value) for key, value in plan.items() if key not in ("source", "behavior_source")}
    return [_without_paths(value) for value in plan] if isinstance(plan, list) else plan


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two nested values differ: floats by more than rounding on another processor may move them."""
    if path.endswith("/versions"):
        return []
    if "/records" in path or "/plans/" in path:
        # Ledgers may come to hold more than they did; what they held stays.
        found = {key: value for key, value in found.items() if key in wanted} if isinstance(found, dict) else found
    if isinstance(wanted, dict) and isinstance(found, dict):
        said = [f"{path}/{key}: only in one" for key in sorted(set(found) ^ set(wanted), key=str)]
        return said + [
            d for key in wanted if key in found for d in differences(found[key], wanted[key], f"{path}/{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list):
        if len(found) != len(wanted):
            return [f"{path}: {len(found)} values for {len(wanted)}"]
        return [d for i, pair in enumerate(zip(found, wanted, strict=True)) for d in differences(*pair, f"{path}/{i}")]
    if isinstance(wanted, float) and isinstance(found, int | float) and not isinstance(found, bool):
        close = abs(found - wanted) <= 2e-3 * max(1.0, abs(wanted))
        return [] if close else [f"{path}: {found} for {wanted}"]
    same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
    return [] if same else [f"{path}: {found!r} for {wanted!r}"]
