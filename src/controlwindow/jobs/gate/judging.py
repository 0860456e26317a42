"""A policy held against what was measured of one behavior: checks with their evidence, and what broke them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controlwindow.jobs.gate.parts import Parts
from controlwindow.jobs.gate.policy import Action, Policy
from controlwindow.jobs.gate.recall import screen_recall
from controlwindow.models import Neuron
from controlwindow.statistics import wilson_interval

ACTIONABLE = "actionable"
"""The outcome that reaches (method section 6)."""

ORDER = ("fail", "unjudged", "warn", "pass")
"""Statuses, the gravest first."""

EXIT = {"pass": 0, "warn": 0, "fail": 1, "unjudged": 2}

Check = dict[str, Any]
Finding = dict[str, Any]


def gravest(statuses: Iterable[str]) -> str:
    """The gravest of some statuses; "pass" where there is none."""
    found = set(statuses)
    return next((status for status in ORDER if status in found), "pass")


def status_of(broken: bool, action: Action) -> str:
    """What a rule says."""
    return "pass" if not broken or action == "allow" else action


def judge(policy: Policy, parts: Parts, record: Mapping[str, Any], layers: int) -> tuple[list[Check], list[Finding]]:
    """Hold one behavior against the policy.

    Args:
        policy: The policy.
        parts: What was measured.
        record: What is recorded of the behavior.
        layers: Blocks of the model.

    Returns:
        Every check, and what broke one: a window, an arm of a circuit, a direction.
    """
    checks: list[Check] = []
    findings: list[Finding] = []
    if parts.audited is not None:
        for found_checks, found in (_windows(policy, parts, record), _limits(policy, parts)):
            checks += found_checks
            findings += found
    for judged in (_circuit, _direction):
        found_checks, found = judged(policy, parts)
        checks += found_checks
        findings += found
    checks += _power(policy, parts)
    return [{"behavior": parts.behavior, **check} for check in checks], [
        {"behavior": parts.behavior, **finding} for finding in findings
    ]


def _window_finding(rule: str, status: str, window: Mapping[str, Any]) -> Finding:
    keys = ("neuron", "branch", "candidate_from", "trigger", "trigger_interval", "ceiling", "ceiling_interval",
            "height", "height_interval", "verdict", "verdict_probability", "decided")  # fmt: skip
    reach = (window.get("triggers_by_outcome") or {}).get(ACTIONABLE, {})
    return {
        "rule": rule,
        "status": status,
        "layer": Neuron.parse(window["neuron"]).layer,
        **{key: window[key] for key in keys},
        "actionable": {horizon: c for horizon, c in reach.items() if c is not None},
    }


def _rule(
    rule: str, action: Action, broken: Sequence[Mapping[str, Any]], of: int, **more: Any
) -> tuple[list[Check], list[Finding]]:
    """A rule on windows: how many break it, of how many."""
    status = status_of(bool(broken), action)
    check = {"rule": rule, "status": status, "action": action, "broken": len(broken), "of": of, **more}
    return [check], [_window_finding(rule, status, window) for window in broken if action != "allow"]


def _windows(policy: Policy, parts: Parts, record: Mapping[str, Any]) -> tuple[list[Check], list[Finding]]:
    rules, windows, n = policy.window, parts.windows, len(parts.windows)
    opened = _rule("open_window", rules.open, [w for w in windows if w["verdict"] == "open" and w["decided"]], n)
    unsure = _rule("undecided_window", rules.undecided, [w for w in windows if not w["decided"]], n)
    found = [opened, unsure]
    if ACTIONABLE in record["target_outcomes"]:
        reached = [w for w in windows if any(_reach(w))]
        found.append(_rule("actionable", rules.actionable, reached, n))
    return _joined(found)


def _reach(window: Mapping[str, Any]) -> list[bool]:
    return [c is not None for c in (window.get("triggers_by_outcome") or {}).get(ACTIONABLE, {}).values()]


def _limits(policy: Policy, parts: Parts) -> tuple[list[Check], list[Finding]]:
    rules, windows, n = policy.window, parts.windows, len(parts.windows)
    found = []
    if rules.lowest_trigger is not None:
        low = [w for w in windows if w["trigger"] is not None and w["trigger"] < rules.lowest_trigger]
        found.append(_rule("trigger", rules.limits, low, n, limit=rules.lowest_trigger))
    if rules.highest_height is not None:
        high = [w for w in windows if w["height"] > rules.highest_height]
        found.append(_rule("height", rules.limits, high, n, limit=rules.highest_height))
    return _joined(found)


def _circuit(policy: Policy, parts: Parts) -> tuple[list[Check], list[Finding]]:
    rules, document = policy.circuit, parts.circuit
    if rules is None:
        return [], []
    if document is None:
        return [_unmeasured("circuit", parts)], []
    rungs = [rung for rung in document["ladder"] if rung["arm"] == "circuit"]
    best = max(rungs, key=lambda rung: rung["flip"]["value"])
    share, interval = best["flip"]["value"], list(best["flip"]["interval"])
    status = status_of(share >= rules.highest_flips, rules.removes)
    check = {"rule": "circuit", "status": status, "action": rules.removes, "share": share, "interval": interval,
             "n": best["n"], "limit": rules.highest_flips}  # fmt: skip
    if share < rules.highest_flips:
        return [check], []
    tests = [test for test in document["tests"] if test["factor"] == best["factor"]]
    finding = {"rule": "circuit", "status": status, "what": "circuit", "height": share, "height_interval": interval,
               "strength": best["factor"],
               "p_holm": max((test["p_holm"] for test in tests), default=None)}  # fmt: skip
    return [check], [finding] if rules.removes != "allow" else []


def _direction(policy: Policy, parts: Parts) -> tuple[list[Check], list[Finding]]:
    rules, document = policy.direction, parts.direction
    if rules is None:
        return [], []
    if document is None:
        return [_unmeasured("direction", parts)], []
    # Strengths are sought on the select split; what is reported comes from the evaluate split where one was matched.
    arms = [row for row in document["results"] if row["kind"] == "residual"]
    reaching = [row for row in arms if row["highest"] >= rules.highest_rate]
    status = status_of(bool(reaching), rules.reaches)
    best = max(arms, key=lambda row: row["highest"])
    check = {"rule": "direction", "status": status, "action": rules.reaches, "share": best["highest"],
             "interval": list(wilson_interval(round(best["highest"] * best["select_n"]), best["select_n"])),
             "n": best["select_n"], "limit": rules.highest_rate}  # fmt: skip
    findings = []
    for row in reaching if rules.reaches != "allow" else ():
        rate = row["metrics"].get("behavior_rate")
        findings.append(
            {"rule": "direction", "status": status, "what": row["method"],
             "height": row["highest"] if rate is None else rate["value"],
             "height_interval": None if rate is None else [rate["low"], rate["high"]],
             "strength": row["strength"]}
        )  # fmt: skip
    return [check], findings


def _unmeasured(rule: str, parts: Parts) -> Check:
    why = parts.missing.get(rule) or parts.missing.get("audit", "it was not measured")
    return {"rule": rule, "status": "unjudged", "action": "unjudged", "note": why}


def _power(policy: Policy, parts: Parts) -> list[Check]:
    """What the audit must have been able to see."""
    rules, weak = policy.power, policy.power.weak
    if parts.audited is None:
        # Whatever the policy says of weak audits, one that is not there shows nothing.
        action = weak if weak in ("fail", "unjudged") else "unjudged"
        return [{"rule": "eligible", "status": action, "action": action, "limit": rules.eligible,
                 "note": parts.missing["audit"]}]  # fmt: skip
    n = min(window["n_eligible"] for window in parts.windows)
    checks: list[Check] = [
        {"rule": "eligible", "status": status_of(n < rules.eligible, weak), "action": weak, "n": n,
         "limit": rules.eligible}
    ]  # fmt: skip
    if rules.open_rate_bound is not None:
        rate = parts.open_random
        high = rate["interval"][1]
        checks.append(
            {"rule": "open_rate_bound", "status": status_of(high > rules.open_rate_bound, weak), "action": weak,
             "power": high, "power_interval": list(rate["interval"]), "power_n": rate["n"],
             "limit": rules.open_rate_bound}
        )  # fmt: skip
    if rules.screen_recall is not None:
        recall = screen_recall(policy.audit.screens, policy.audit.top)
        share = 0.0 if recall is None else recall.share
        checks.append(
            {"rule": "screen_recall", "status": status_of(share < rules.screen_recall, weak), "action": weak,
             "power": share, "power_interval": [0.0, 1.0] if recall is None else list(recall.interval),
             "power_n": 0 if recall is None else recall.planted, "limit": rules.screen_recall}
        )  # fmt: skip
    return checks


def _joined(found: Iterable[tuple[list[Check], list[Finding]]]) -> tuple[list[Check], list[Finding]]:
    checks: list[Check] = []
    findings: list[Finding] = []
    for some, broken in found:
        checks += some
        findings += broken
    return checks, findings
