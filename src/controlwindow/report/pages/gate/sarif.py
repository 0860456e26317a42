"""A gate as SARIF 2.1.0: one rule for each of the policy's, one result for each finding or unjudged check."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from controlwindow.report.pages.gate.document import Check, Finding, GateDocument
from controlwindow.report.pages.gate.words import RULES, described, measured

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"fail": "error", "unjudged": "error", "warn": "warning", "pass": "note"}


def sarif_text(document: GateDocument) -> str:
    """The document as SARIF; it has been made shareable before."""
    rules = list(RULES)
    results = [_finding(document, finding, rules) for finding in document.findings]
    told = {(finding.behavior, finding.rule) for finding in document.findings}
    results += [
        _check(document, check, rules)
        for check in document.checks
        if check.status != "pass" and (check.behavior, check.rule) not in told
    ]
    driver = {
        "name": "controlwindow",
        "version": document.versions.get("controlwindow", "unknown"),
        "rules": [
            {"id": rule, "shortDescription": {"text": words}, "defaultConfiguration": {"level": "error"}}
            for rule, words in RULES.items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "verdict": document.verdict,
            "model": document.model.name,
            "fingerprint": document.model.fingerprint,
            "withheld": document.withheld,
        },
    }
    whole = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finding(document: GateDocument, finding: Finding, rules: list[str]) -> dict[str, Any]:
    text = f"{finding.behavior}: {described(finding)}"
    kept = finding.model_dump(mode="json", exclude_none=True, exclude={"withheld", "rule", "status"})
    name = finding.neuron or finding.what or finding.rule
    return _result(document, finding.rule, finding.status, finding.behavior, name, text, rules) | {"properties": kept}


def _check(document: GateDocument, check: Check, rules: list[str]) -> dict[str, Any]:
    text = f"{check.behavior}: {RULES[check.rule]}: {measured(check, document.withheld)}"
    return _result(document, check.rule, check.status, check.behavior, check.rule, text, rules)


def _result(
    document: GateDocument, rule: str, status: str, behavior: str, name: str, text: str, rules: list[str]
) -> dict[str, Any]:
    # Code scanning shows a result at a place in a file; a model has none, so it is the policy that was broken.
    place = {"artifactLocation": {"uri": quote(document.policy_file)}, "region": {"startLine": 1}}
    logical = {"name": name, "fullyQualifiedName": f"{document.model.name}/{behavior}/{name}", "kind": "resource"}
    known = hashlib.sha256("\x1f".join((rule, behavior, name)).encode()).hexdigest()
    return {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "kind": "fail" if status in ("fail", "warn") else "open",
        "level": _LEVELS[status] if status in ("fail", "warn") else "none",
        "message": {"text": text},
        "locations": [{"physicalLocation": place, "logicalLocations": [logical]}],
        "partialFingerprints": {"controlwindow/v1": known},
    }
