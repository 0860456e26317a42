"""What every run of one behavior shares that is no audit: the head of its plan, committing it, and its manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from controlwindow.errors import LedgerError
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.manifest import write_json
from controlwindow.runs.plan import BehaviorReference, library_versions, refuse_other_libraries
from controlwindow.secrecy import hides_neurons, shareable_manifest


class BehaviorPlan(BaseModel):
    """The head of a plan.

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
        seed: Seed of everything random.
        include_neurons: Whether the report names neurons of sensitive behaviors on models that are no organisms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Keys that no result depends on: what a report shows and where files lay.
    undecided: ClassVar[frozenset[str]] = frozenset({"run", "source", "include_neurons"})

    run: str = ""
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    behavior: BehaviorReference
    seed: int = 0
    include_neurons: bool = False

    def deciding(self) -> dict[str, Any]:
        """What results depend on."""
        values = self.model_dump(mode="json", exclude=set(self.undecided))
        values["behavior"] = [self.behavior.name, self.behavior.fingerprint]
        return values

    def named(self) -> Self:
        """With its name: a hash of what it measures, so that two runs of one configuration print the same."""
        digest = hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()
        return self.model_copy(update={"run": digest[:12]})


def commit_plan(
    ledger: Ledger, kind: str, plan: BehaviorPlan, records: list[tuple[str, str, Any]], *, finished: bool
) -> None:
    """Write the plan, or hold the one that is there against this one.

    Args:
        ledger: The run's ledger.
        kind: The kind of run.
        plan: The plan.
        records: What else is written beside a new plan.
        finished: Whether nothing is left to measure.

    Raises:
        LedgerError: The ledger holds another run, or one that was begun with other libraries.
    """
    found = ledger.find("plan", kind)
    if found is None:
        others = list(ledger.find_all("plan"))
        if others:
            raise LedgerError(f"{ledger.path} holds a run of another kind ({others[0]})", "give another --out")
        versions = ("versions", "versions", library_versions())
        ledger.record_all([("plan", kind, plan.model_dump(mode="json")), versions, *records])
        return
    before, now = type(plan).model_validate(found).deciding(), plan.deciding()
    different = [key for key in now if before[key] != now[key]]
    if different:
        raise LedgerError(
            f"{ledger.path} holds another {kind}: it differs in {', '.join(different)}",
            "give another --out, or resume it as it was planned with `controlwindow resume`",
        )
    refuse_other_libraries(ledger, finished=finished)


def write_behavior_manifest(ledger: Ledger, directory: Path, kind: str) -> None:
    """Write `manifest.json`: model, fingerprint, versions, seed and configuration.

    Args:
        ledger: The run's ledger.
        directory: The run directory.
        kind: The kind of run.

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
    hide = hides_neurons(
        sensitive=behavior["sensitive"],
        organism=models["model"]["organism"],
        include_neurons=plan["include_neurons"],
    )
    write_json(shareable_manifest(manifest, hide=hide), directory / "manifest.json")
