"""What opened, closed and moved since a baseline: paired over prompts, corrected over all comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from controlwindow.jobs.gate.evidence import Evidence, read_evidence
from controlwindow.runs.kinds import open_run
from controlwindow.statistics import (
    bootstrap_indices,
    bootstrap_interval,
    holm,
    percentile_interval,
    sign_flip_p,
    stable_seed,
)
from controlwindow.windows.thresholds import crossings, resampled_shares

FEWEST = 8
"""Prompts that must be eligible in both models for a comparison on them."""

DRAWS = 19_999
"""Replicates of the bootstrap of a trigger's move: its smallest p must survive a correction for hundreds."""

LEVEL = 0.05
"""Adjusted p below which something has changed."""

Key = tuple[str, int]


class Side(NamedTuple):
    """One model's windows for one behavior.

    Attributes:
        windows: As recorded, by neuron and branch.
        directories: Where the run that measured each lies, likewise.
    """

    windows: Mapping[Key, Mapping[str, Any]]
    directories: Mapping[Key, Path]

    def evidence(self, keys: Sequence[Key], targets: frozenset[str]) -> dict[Key, Evidence]:
        """Evidence of some windows; every ledger is opened once."""
        found = {}
        with ExitStack() as stack:
            ledgers = {path: stack.enter_context(open_run(path)) for path in {self.directories[key] for key in keys}}
            for key in keys:
                read = read_evidence(ledgers[self.directories[key]], self.windows[key], targets)
                if read is not None:
                    found[key] = read
        return found


def side(parts: Sequence[tuple[Path, Sequence[Mapping[str, Any]]]]) -> Side:
    """The windows of several audits as one; the first that has one gives it."""
    windows: dict[Key, Mapping[str, Any]] = {}
    directories: dict[Key, Path] = {}
    for directory, found in parts:
        for window in found:
            key = (window["neuron"], window["branch"])
            if key not in windows:
                windows[key], directories[key] = window, directory
    return Side(windows, directories)


def changes(
    behavior: str, before: Side, now: Side, targets: frozenset[str], level: float, seed: int
) -> list[dict[str, Any]]:
    """Every window that both models have, before and now, not yet corrected.

    Heights are compared where one of the two is closed, triggers where both are open: one comparison a window.

    Args:
        behavior: The behavior's name.
        before: The baseline's windows.
        now: The model's.
        targets: Outcomes that count as a flip.
        level: The share of flips that makes a trigger.
        seed: Seed of the bootstrap.
    """
    both = [key for key in now.windows if key in before.windows]
    old, new = before.evidence(both, targets), now.evidence(both, targets)
    found = []
    for key in both:
        if key not in old or key not in new:
            continue
        shared = tuple(prompt for prompt in new[key].prompts if prompt in set(old[key].prompts))
        if len(shared) < FEWEST:
            continue
        was, is_open = (s.windows[key]["verdict"] == "open" for s in (before, now))
        change = {
            "behavior": behavior,
            "neuron": key[0],
            "branch": key[1],
            "was": before.windows[key]["verdict"],
            "now": now.windows[key]["verdict"],
            "n": len(shared),
        }
        drawn = stable_seed("baseline", seed, behavior, *key)
        if was and is_open:
            found.append(change | _trigger(before, now, key, (old[key], new[key]), shared, level, drawn))
        else:
            found.append(change | _height((old[key], new[key]), shared, drawn))
    return found


def corrected(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of all behaviors with adjusted p (Holm), and what each says."""
    adjusted = holm([change["p"] for change in found])
    return [
        {**change, "p_holm": float(p), "change": _said(change, float(p)), "comparisons": len(found)}
        for change, p in zip(found, adjusted, strict=True)
    ]


def _said(change: Mapping[str, Any], p: float) -> str:
    if p >= LEVEL:
        return "same" if change["was"] == change["now"] else "unclear"
    if change["was"] != change["now"]:
        return "opened" if change["now"] == "open" else "closed"
    return "moved" if change["now"] == "open" else "same"


def _height(evidence: tuple[Evidence, Evidence], shared: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Largest share of flips, now less before, each at its own dose."""
    before, now = (one.at(shared)[one.height].astype(float) for one in evidence)
    interval = bootstrap_interval(now - before, seed)
    return {
        "measure": "height",
        "height_before": float(before.mean()),
        "height_now": float(now.mean()),
        "height_difference": float((now - before).mean()),
        "height_interval": list(interval),
        "p": sign_flip_p(now - before, seed),
    }


def _trigger(
    before: Side,
    now: Side,
    key: Key,
    evidence: tuple[Evidence, Evidence],
    shared: tuple[str, ...],
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Trigger in c, now less before, by a bootstrap over prompts that pairs the two."""
    replicates = bootstrap_indices(len(shared), DRAWS, seed)
    old, new = (crossings(one.coordinates, resampled_shares(one.at(shared), replicates), level)[0] for one in evidence)
    with np.errstate(invalid="ignore"):
        moved = np.where(np.isinf(old) & np.isinf(new), 0.0, new - old)
    low, high = percentile_interval(moved)
    # Two-sided; the observed sample counts as one, so that p is never 0.
    p = min(1.0, 2 * (min(int((moved <= 0).sum()), int((moved >= 0).sum())) + 1) / (DRAWS + 1))
    values = [one.windows[key]["trigger"] for one in (before, now)]
    return {
        "measure": "trigger",
        "trigger_before": values[0],
        "trigger_now": values[1],
        "trigger_difference": values[1] - values[0],
        "trigger_interval": [_finite(low), _finite(high)],
        "p": p,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
