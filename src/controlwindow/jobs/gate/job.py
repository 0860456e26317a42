"""The gate: measure what the policy names, hold the policy against it, and say pass, fail or could not be judged."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.jobs.gate.baseline import corrected
from controlwindow.jobs.gate.comparing import Baseline
from controlwindow.jobs.gate.judging import EXIT, gravest, judge, status_of
from controlwindow.jobs.gate.parts import Parts, Place, measure_parts
from controlwindow.jobs.gate.plan import GatePlan
from controlwindow.jobs.gate.policy import Policy
from controlwindow.models import Model, Neuron
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.records import behavior_record, library_versions, model_record, origin_record

STATEMENT = (
    "Passing says that what was tested kept to the policy. It does not say that no neuron opens a window: most neurons "
    "were not tested."
)


@dataclass
class GateJob:
    """One gate. Its parts are runs of their own, so that one cut off goes on where it was.

    Attributes:
        model: The model.
        behaviors: The behaviors, in order.
        plan: What is to be done.
        ledger: An open ledger.
        directory: The run directory.
        baseline: What the model is held against, if anything.
        progress: Where progress is shown.
    """

    model: Model
    behaviors: Sequence[Behavior]
    plan: GatePlan
    ledger: Ledger
    directory: Path
    baseline: Baseline | None = None
    progress: Progress | None = None

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        behaviors = [("behavior", b.name, behavior_record(b)) for b in self.behaviors]
        return [("model", "model", model_record(self.model)), *behaviors]

    def run(self) -> dict[str, Any]:
        """Do the whole job.

        Returns:
            The values of the gate's document, nothing withheld.

        Raises:
            OperationError: The hooks failed their self-proof.
            LedgerError: A ledger cannot be written, or a part holds another run.
        """
        self.ledger.remember("origin", "model", lambda: origin_record(self.model))
        found: dict[str, Any] = self.ledger.remember("result", self.plan.kind, self._measure)
        return found

    def _measure(self) -> dict[str, Any]:
        policy = Policy.model_validate(self.plan.policy)
        given = {b.name: reference.source for b, reference in zip(self.behaviors, self.plan.behaviors, strict=True)}
        in_hand = {b.name: b for b in self.behaviors}
        # What was planned is what is measured, also where a name now loads something else.
        place = Place(
            self.directory,
            {name: source if Path(source).is_file() else in_hand[name] for name, source in given.items()},
            self.plan.include_neurons,
            self.progress or Silent(),
        )
        checks: list[dict[str, Any]] = []
        findings: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        for behavior in self.behaviors:
            named: list[str] = []
            if self.baseline is not None:
                named = self.baseline.measure(self.model, behavior, policy.audit, place)
            parts = measure_parts(self.model, behavior.name, policy, place, named)
            if self.baseline is not None:
                self.baseline.follow(parts, policy.audit, place)
                changes += self.baseline.changes(parts, behavior, policy.audit.seed)
            said, broke = judge(policy, parts, behavior_record(behavior), self.model.layers)
            checks += said
            findings += broke
            shown.append(_behavior(behavior, parts))
        changes = corrected(changes)
        for behavior in self.behaviors if self.baseline is not None else ():
            checks += _compared(policy, behavior.name, changes, self.baseline)
        for part in shown:
            part["status"] = gravest(c["status"] for c in checks if c["behavior"] == part["name"])
        status = gravest(check["status"] for check in checks)
        return {
            "run": self.plan.run,
            "verdict": "pass" if status == "warn" else status,
            "warnings": sum(check["status"] == "warn" for check in checks),
            "exit_code": EXIT[status],
            "statement": STATEMENT,
            "model": model_record(self.model),
            "policy_file": self.plan.policy_file,
            "behaviors": shown,
            "checks": checks,
            "findings": findings,
            "baseline": None if self.baseline is None else _baseline(self.baseline),
            # What is the same in both is counted in the checks.
            "changes": [
                {**change, "layer": Neuron.parse(change["neuron"]).layer}
                for change in changes
                if change["change"] != "same"
            ],
            "audit": {key: value for key, value in self.plan.policy["audit"].items() if key != "behaviors"},
            "inputs": self._inputs(),
            "commitments": self._commitments(policy),
            "versions": library_versions(),
        }

    def _inputs(self) -> list[dict[str, str]]:
        """Digests of what went in and names no neuron."""
        rows = [{"what": "weights", "name": self.model.name, "digest": self.model.fingerprint}]
        if self.model.chat.template is not None:
            rows.append({"what": "chat template", "name": self.model.name, "digest": self.model.chat.template})
        rows.append({"what": "rendered prompts", "name": self.model.name, "digest": str(self.plan.rendering)})
        rows += [{"what": "behavior", "name": b.name, "digest": b.fingerprint} for b in self.behaviors]
        if self.baseline is not None:
            reference = self.baseline.reference
            rows.append({"what": "baseline weights", "name": reference.name, "digest": reference.fingerprint})
        return rows

    def _commitments(self, policy: Policy) -> list[dict[str, str]]:
        """Digests from which, by trying, a neuron would follow: beside each a commitment that can be opened later."""
        salt = self.ledger.remember("salt", "salt", lambda: {"salt": secrets.token_hex(16)})["salt"]
        given = {"policy": policy.digest(), "plan": self.plan.digest(64)}
        return [
            {"what": what, "digest": digest, "commitment": commitment(salt, digest)} for what, digest in given.items()
        ]


def commitment(salt: str, digest: str) -> str:
    """HMAC-SHA-256 of a digest under a salt that lies in the gate's ledger alone."""
    return hmac.new(bytes.fromhex(salt), digest.encode(), hashlib.sha256).hexdigest()


def _behavior(behavior: Behavior, parts: Parts) -> dict[str, Any]:
    return {
        "name": behavior.name,
        "sensitive": behavior.sensitive,
        "tested": len(parts.tested),
        "open": sum(window["verdict"] == "open" for window in parts.windows),
        "n_eligible": min((window["n_eligible"] for window in parts.windows), default=None),
        "prompts": len(behavior.prompts("evaluate")),
    }


def _baseline(baseline: Baseline) -> dict[str, Any]:
    reference = baseline.reference
    return {
        "kind": reference.kind,
        "name": reference.name,
        "fingerprint": reference.fingerprint,
        "missing": [{"behavior": name, "note": note} for name, note in baseline.missing.items()],
    }


def _compared(
    policy: Policy, behavior: str, changes: Sequence[Mapping[str, Any]], baseline: Baseline | None
) -> list[dict[str, Any]]:
    """Rules against the baseline; where nothing can be compared that is a warning, and says why."""
    mine = [change for change in changes if change["behavior"] == behavior]
    note = None if baseline is None else baseline.missing.get(behavior)
    fell = [c for c in mine if c["change"] == "moved" and c["trigger_difference"] < 0]
    opened = [c for c in mine if c["change"] == "opened"]
    rules = (("opened", policy.baseline.opened, opened), ("moved", policy.baseline.moved, fell))
    return [
        {"behavior": behavior, "rule": rule, "status": status_of(bool(broken), action) if note is None else "warn",
         "action": action, "broken": len(broken), "of": len(mine), **({} if note is None else {"note": note})}
        for rule, action, broken in rules
    ]  # fmt: skip


def pretty(values: Mapping[str, Any]) -> str:
    """A document as files hold it."""
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
