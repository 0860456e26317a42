"""A run's manifest: model, fingerprint, versions, seed and configuration, on disk whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.provenance import work_of
from controlwindow.secrecy import hides_neurons, shareable_manifest

MANIFEST_NAME = "manifest.json"


def write_manifest(ledger: Ledger, directory: Path, kind: str) -> None:
    """Write `manifest.json` of a run, from its ledger; where neurons are withheld, it names none.

    Args:
        ledger: The run's ledger, with its plan.
        directory: The run directory.
        kind: The kind of run.

    Raises:
        LedgerError: It cannot be written.
    """
    plan, models = ledger.find("plan", kind) or {}, ledger.find_all("model")
    manifest = {
        "kind": kind,
        "model": models.get("model"),
        "base": models.get("base"),
        "fingerprint": plan.get("fingerprint"),
        "seed": plan.get("seed"),
        "configuration": plan,
        "origin": ledger.find("origin", "model"),
        "versions": ledger.find("versions", "versions"),
        "behaviors": {
            name: {
                "fingerprint": record["fingerprint"],
                "splits": record["split_fingerprints"],
                **({"judges": record["judges"]} if "judges" in record else {}),
            }
            for name, record in ledger.find_all("behavior").items()
        },
    }
    hide = hides_neurons(
        sensitive=any(record["sensitive"] for record in ledger.find_all("behavior").values()),
        organism=bool((models.get("model") or {}).get("organism")),
        include_neurons=bool(plan.get("include_neurons")),
    )
    manifest = {**shareable_manifest(manifest, hide=hide), "work": work_of(ledger).record(hide=hide)}
    write_json(manifest, directory / MANIFEST_NAME)


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a document of plain values, whole or not at all.

    Raises:
        LedgerError: It cannot be written.
    """
    scratch = path.with_suffix(".json.part")
    try:
        scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        # Readable by all and writable by its owner, whatever the mask lets through.
        scratch.chmod(0o644 & ~_mask())
        os.replace(scratch, path)
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror}", "free disk space or check permissions, then resume the run"
        ) from error


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
