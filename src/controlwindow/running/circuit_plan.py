"""The plan of a circuit run: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controlwindow.circuits.sweep import LADDER
from controlwindow.errors import LedgerError
from controlwindow.running.ledger import Ledger
from controlwindow.running.plan import DECIDING, BehaviorReference, library_versions

KIND = "circuit"


class CircuitPlan(BaseModel):
    """What a circuit run does.

    Attributes:
        run: The run's name.
        model: The model's name.
        source: What it was loaded from; None for a model in hand.
        fingerprint: Its weights hash.
        system_prompt: The system message, if any.
        dtype: Type of the weights.
        device: Kind of device.
        chat_template: Hash of the chat template, if any.
        behavior: The behavior.
        screen: The screen whose top is the circuit.
        top: How much of it, as asked.
        factors: The ladder of strengths.
        seeds: Draws of every control.
        seed: Seed of everything random.
        base: The base model's name, if there is one.
        base_source: What it was loaded from; None for a model in hand.
        base_fingerprint: Its weights hash.
        base_note: Why there is none, although the organism's card names one.
        chunk_rows: Most rows of a chunk.
        include_neurons: Whether the report names neurons of sensitive behaviors on models that are no organisms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = ""
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    behavior: BehaviorReference
    screen: str = "contrastive"
    top: str = "0.1%"
    factors: Annotated[tuple[float, ...], Field(min_length=1)] = LADDER
    seeds: Annotated[int, Field(ge=1)] = 3
    seed: int = 0
    base: str | None = None
    base_source: str | None = None
    base_fingerprint: str | None = None
    base_note: str | None = None
    chunk_rows: int = 512
    include_neurons: bool = False

    def deciding(self) -> dict[str, Any]:
        """What results depend on; what a report shows and where files lay does not count."""
        values = self.model_dump(mode="json", exclude={"run", "source", "base_source", "base_note", "include_neurons"})
        values["behavior"] = [self.behavior.name, self.behavior.fingerprint]
        return values

    def named(self) -> CircuitPlan:
        """With its name: a hash of what it measures, so that two runs of one configuration print the same."""
        digest = hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()
        return self.model_copy(update={"run": digest[:12]})


def commit_circuit_plan(ledger: Ledger, plan: CircuitPlan, records: list[tuple[str, str, Any]]) -> None:
    """Write the plan, or hold the one that is there against this one.

    Args:
        ledger: The run's ledger.
        plan: The plan.
        records: What else is written beside a new plan.

    Raises:
        LedgerError: The ledger holds another run, or one that was begun with other libraries.
    """
    found = ledger.find("plan", KIND)
    if found is None:
        others = [name for name in ledger.find_all("plan") if name != KIND]
        if others:
            raise LedgerError(f"{ledger.path} holds a run of another kind ({others[0]})", "give another --out")
        versions = ("versions", "versions", library_versions())
        ledger.record_all([("plan", KIND, plan.model_dump(mode="json")), versions, *records])
        return
    before, now = CircuitPlan.model_validate(found).deciding(), plan.deciding()
    different = [key for key in now if before[key] != now[key]]
    if different:
        raise LedgerError(
            f"{ledger.path} holds another circuit: it differs in {', '.join(different)}",
            "give another --out, or resume it as it was planned with `controlwindow resume`",
        )
    versions_before, versions_now = ledger.find("versions", "versions") or {}, library_versions()
    changed = [
        f"{name} {versions_before.get(name)} → {versions_now[name]}"
        for name in DECIDING
        if versions_before.get(name) != versions_now[name]
    ]
    if changed and ledger.find("finished", KIND) is None:
        raise LedgerError(
            f"{ledger.path} was begun with other libraries ({', '.join(changed)}), which may round otherwise",
            "install the versions that manifest.json names, or start the run again with another --out",
        )


def write_circuit_manifest(ledger: Ledger, directory: Path, kind: str = KIND) -> None:
    """Write `manifest.json`: model, fingerprint, versions, seed and configuration.

    Args:
        ledger: The run's ledger.
        directory: The run directory.
        kind: The kind of run; probes have the same records.

    Raises:
        LedgerError: It cannot be written.
    """
    plan, models = ledger.find("plan", kind) or {}, ledger.find_all("model")
    behavior = ledger.find("behavior", plan["behavior"]["name"]) or {}
    manifest = {
        "model": models["model"],
        "base": models.get("base"),
        "fingerprint": plan["fingerprint"],
        "seed": plan["seed"],
        "configuration": plan,
        "versions": ledger.find("versions", "versions"),
        "behaviors": {
            behavior["name"]: {"fingerprint": behavior["fingerprint"], "splits": behavior["split_fingerprints"]}
        },
    }
    path = directory / "manifest.json"
    scratch = path.with_suffix(".json.part")
    try:
        scratch.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.replace(scratch, path)
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror}", "free disk space or check permissions, then resume the run"
        ) from error
